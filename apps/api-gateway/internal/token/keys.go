package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"platform.example/apps/internal/config"
)

// minSecretBytes is the size of the hash: RFC 7518, 3.2, asks for no less.
const minSecretBytes = 32

// Keys are the secrets that tokens are signed with, by key id. The first
// signs; all verify, so that a new one can be put in front of the old.
type Keys struct {
	signing string
	secrets map[string]config.Secret
}

// ParseKeys reads `kid:base64url(secret)` parts separated by commas. Its
// errors name the key id and never hold a secret.
func ParseKeys(raw string) (Keys, error) {
	keys := Keys{secrets: make(map[string]config.Secret)}
	kidForm := regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	for part := range strings.SplitSeq(raw, ",") {
		kid, encoded, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found || !kidForm.MatchString(kid) {
			return Keys{}, errors.New("must be kid:base64url(secret), several separated by commas; a kid has 1 to 32 letters, digits, - or _")
		}
		if _, twice := keys.secrets[kid]; twice {
			return Keys{}, fmt.Errorf("has the kid %q twice", kid)
		}
		secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			return Keys{}, fmt.Errorf("has a secret for the kid %q that is not base64url", kid)
		}
		if len(secret) < minSecretBytes {
			return Keys{}, fmt.Errorf("has a secret of %d bytes for the kid %q: at least %d are needed", len(secret), kid, minSecretBytes)
		}
		if keys.signing == "" {
			keys.signing = kid
		}
		keys.secrets[kid] = config.NewSecret(string(secret))
	}
	return keys, nil
}
