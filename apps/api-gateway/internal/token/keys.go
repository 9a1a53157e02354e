package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/config"
)

const (
	// minSecretBytes is the size of the hash, the minimum of RFC 7518, 3.2.
	minSecretBytes = 32
	// seedForm precedes the seed of an Ed25519 key. Its dot doesn't occur in base64url.
	seedForm = "ed25519."
)

// key is a signing key. Its form determines its only algorithm (RFC 8725, 3.1).
type key struct {
	method  jwt.SigningMethod // EdDSA or HS256
	private config.Secret
}

// pair returns the key that signs and the key that verifies.
func (k key) pair() (signing, verification any) {
	private := []byte(k.private.Reveal())
	if k.method == jwt.SigningMethodHS256 {
		return private, private
	}
	return ed25519.PrivateKey(private), ed25519.PrivateKey(private).Public()
}

// Keys are the signing keys by key id. The first one signs; all of them verify, so that a new key can be put
// in front.
type Keys struct {
	signing string
	byID    map[string]key
	public  jose.JSONWebKeySet
}

// ParseKeys parses `kid:base64url(secret)` and `kid:ed25519.base64url(seed)` parts separated by commas. Its
// errors contain the key id, never a key.
func ParseKeys(raw string) (Keys, error) {
	keys := Keys{byID: map[string]key{}, public: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}}
	kidForm := regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	for part := range strings.SplitSeq(raw, ",") {
		kid, encoded, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found || !kidForm.MatchString(kid) {
			return Keys{}, errors.New("must be kid:ed25519.base64url(seed) or kid:base64url(secret), several separated by commas; a kid has 1 to 32 letters, digits, - or _")
		}
		if _, twice := keys.byID[kid]; twice {
			return Keys{}, fmt.Errorf("has the kid %q twice", kid)
		}
		encoded, isSeed := strings.CutPrefix(encoded, seedForm)
		secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			return Keys{}, fmt.Errorf("has a key for the kid %q that is not base64url", kid)
		}
		if len(secret) < minSecretBytes || isSeed && len(secret) != ed25519.SeedSize {
			return Keys{}, fmt.Errorf("has a key of %d bytes for the kid %q: a secret has at least %d, a seed exactly %d",
				len(secret), kid, minSecretBytes, ed25519.SeedSize)
		}
		if keys.signing == "" {
			keys.signing = kid
		}
		var method jwt.SigningMethod = jwt.SigningMethodHS256
		if isSeed {
			private := ed25519.NewKeyFromSeed(secret)
			method, secret = jwt.SigningMethodEdDSA, private
			keys.public.Keys = append(keys.public.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: kid, Use: "sig", Algorithm: method.Alg()})
		}
		keys.byID[kid] = key{method, config.NewSecret(string(secret))}
	}
	return keys, nil
}
