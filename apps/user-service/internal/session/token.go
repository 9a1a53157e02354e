package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"
)

const secretBytes = 32

// token is a refresh token: a session and a secret that only the client has. Its text is "<session
// id>.<base64url of the secret>".
type token struct {
	session uuid.UUID
	secret  []byte
}

func (t token) String() string {
	return t.session.String() + "." + base64.RawURLEncoding.EncodeToString(t.secret)
}

// parse parses a token. It accepts only the canonical form.
func parse(raw string) (token, bool) {
	id, encoded, found := strings.Cut(raw, ".")
	session, idErr := uuid.Parse(id)
	secret, secretErr := base64.RawURLEncoding.Strict().DecodeString(encoded)
	t := token{session, secret}
	ok := found && idErr == nil && secretErr == nil && len(secret) == secretBytes && t.String() == raw
	return t, ok
}

func newSecret() []byte {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails: crypto/rand
	return secret
}

// next returns the following token. It depends on the client's secret and on the salt in the database, so
// that neither alone is enough. It is the same in every call.
func (t token) next(salt []byte) token {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write(salt)
	return token{t.session, mac.Sum(nil)}
}

func (t token) hash() []byte {
	sum := sha256.Sum256(t.secret)
	return sum[:]
}

// is reports whether hash is the hash of the token.
func (t token) is(hash []byte) bool { return subtle.ConstantTimeCompare(t.hash(), hash) == 1 }
