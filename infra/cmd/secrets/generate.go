package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
)

// generate returns a first value.
func generate(secret catalog.Secret, now time.Time) (string, error) {
	switch secret.Kind {
	case catalog.Plain, catalog.Password:
		return password(), nil
	case catalog.JWTKeys, catalog.SigningKeys:
		return signingKey(secret.Kind) + "," + signingKey(secret.Kind), nil // in use, next
	case catalog.CertificateAuthority:
		inUse, err := certificate.NewAuthority(now)
		if err != nil {
			return "", err
		}
		next, err := certificate.NewAuthority(now)
		return inUse + next, err
	default:
		return "", fmt.Errorf("unknown kind of secret %q", secret.Kind)
	}
}

// rotate returns the next value. It still accepts the part of the former value that is in use.
func rotate(secret catalog.Secret, former string, now time.Time) (string, error) {
	switch secret.Kind {
	case catalog.Plain:
		return generate(secret, now)
	case catalog.Password:
		inUse, _, _ := strings.Cut(former, ",")
		return password() + "," + inUse, nil
	case catalog.JWTKeys, catalog.SigningKeys:
		return strings.Join(turn(strings.Split(former, ","), signingKey(secret.Kind)), ","), nil
	case catalog.CertificateAuthority:
		authorities, err := certificate.Authorities(former)
		if err != nil {
			return "", err
		}
		authorities = slices.DeleteFunc(authorities, func(authority string) bool {
			end, err := certificate.NotAfter(authority)
			return err == nil && now.After(end) // no client accepts its signatures
		})
		if len(authorities) == 0 {
			return generate(secret, now)
		}
		fresh, err := certificate.NewAuthority(now)
		return strings.Join(turn(authorities, fresh), ""), err
	default:
		return "", fmt.Errorf("unknown kind of secret %q", secret.Kind)
	}
}

// turn uses the next value and returns it, a fresh one, and the one that was in use. An old value without a next one stays in use, with
// the fresh one as the next.
func turn(former []string, fresh string) []string {
	if len(former) < 2 {
		return append(former, fresh)
	}
	return []string{former[1], fresh, former[0]}
}

// announces reports whether a rotation only adds the next value without using it.
func announces(secret catalog.Secret, former string) bool {
	switch secret.Kind {
	case catalog.JWTKeys, catalog.SigningKeys:
		return !strings.Contains(former, ",")
	case catalog.CertificateAuthority:
		authorities, err := certificate.Authorities(former)
		return err == nil && len(authorities) == 1
	default:
		return false
	}
}

// password is 32 random bytes.
func password() string { return base64.RawURLEncoding.EncodeToString(randomBytes(32)) }

// signingKey is an id and the seed of an Ed25519 key: 32 random bytes (RFC 8032, 5.1.5).
func signingKey(kind catalog.Kind) string {
	form := map[catalog.Kind]string{catalog.JWTKeys: catalog.Ed25519Seed}[kind]
	return hex.EncodeToString(randomBytes(4)) + ":" + form + password()
}

func randomBytes(length int) []byte {
	random := make([]byte, length)
	_, _ = rand.Read(random) // never returns an error
	return random
}
