package webhook

import (
	"fmt"
	"net/url"
	"strings"

	"platform.example/apps/internal/config"
)

// minSecretBytes is the size of the hash: RFC 2104, 3 discourages shorter keys.
const minSecretBytes = 32

// Config says where notifications are delivered to.
type Config struct {
	URL     *url.URL        // nil: nowhere
	Secrets []config.Secret // each signs: during a rotation the new one and the one before it
}

// ReadConfig reads a Config: both variables, or neither.
func ReadConfig(e *config.Env) Config {
	const at, signedWith = "WEBHOOK_URL", "WEBHOOK_SECRET"
	if config.ParsedOr(e, at, "", config.String)+config.ParsedOr(e, signedWith, "", config.String) == "" {
		return Config{}
	}
	return Config{URL: config.Parsed(e, at, config.HTTPURL), Secrets: config.Parsed(e, signedWith, secrets)}
}

// secrets reads one or more secrets with commas between them.
func secrets(raw string) (list []config.Secret, err error) {
	for secret := range strings.SplitSeq(raw, ",") {
		if len(secret) < minSecretBytes {
			return nil, fmt.Errorf("has %d bytes: must have at least %d", len(secret), minSecretBytes)
		}
		list = append(list, config.NewSecret(secret))
	}
	return list, nil
}
