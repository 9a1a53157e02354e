package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"platform.example/infra/catalog"
)

// generate makes a fresh value. 32 bytes are what HS256 asks of a key at least (RFC 7518, 3.2).
func generate(kind catalog.Kind) (string, error) {
	value := base64.RawURLEncoding.EncodeToString(randomBytes(32))
	switch kind {
	case catalog.Password:
		return value, nil
	case catalog.JWTKeys:
		return hex.EncodeToString(randomBytes(4)) + ":" + value, nil
	default:
		return "", fmt.Errorf("unknown kind of secret %q", kind)
	}
}

func randomBytes(length int) []byte {
	random := make([]byte, length)
	_, _ = rand.Read(random) // never fails: it ends the program instead
	return random
}
