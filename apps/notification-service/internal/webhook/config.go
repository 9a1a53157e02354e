package webhook

import (
	"fmt"
	"net/url"

	"platform.example/apps/internal/config"
)

// minSecretBytes is the size of the hash: RFC 2104, 3 discourages shorter keys.
const minSecretBytes = 32

// Config says where notifications are delivered to.
type Config struct {
	URL    *url.URL // nil: nowhere
	Secret config.Secret
}

// ReadConfig reads a Config: both variables, or neither.
func ReadConfig(e *config.Env) Config {
	const at, signedWith = "WEBHOOK_URL", "WEBHOOK_SECRET"
	if config.ParsedOr(e, at, "", config.String)+config.ParsedOr(e, signedWith, "", config.String) == "" {
		return Config{}
	}
	return Config{URL: config.Parsed(e, at, config.HTTPURL), Secret: config.Parsed(e, signedWith, secret)}
}

func secret(raw string) (config.Secret, error) {
	if len(raw) < minSecretBytes {
		return config.Secret{}, fmt.Errorf("has %d bytes: must have at least %d", len(raw), minSecretBytes)
	}
	return config.NewSecret(raw), nil
}
