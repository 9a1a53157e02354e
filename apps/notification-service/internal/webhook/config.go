package webhook

import (
	"fmt"
	"net/url"
	"strings"

	"platform.example/apps/internal/config"
)

// minSecretBytes is the size of the hash: RFC 2104, 3 discourages shorter keys.
const minSecretBytes = 32

// Config is the receiver of notifications.
type Config struct {
	URL     *url.URL        // nil means no webhook
	Secrets []config.Secret // each signs; during a rotation the new and the previous one
}

// ReadConfig reads a Config from WEBHOOK_URL and WEBHOOK_SECRET: both must be set, or neither.
func ReadConfig(e *config.Env) Config {
	const url, secret = "WEBHOOK_URL", "WEBHOOK_SECRET"
	if config.ParsedOr(e, url, "", config.String)+config.ParsedOr(e, secret, "", config.String) == "" {
		return Config{}
	}
	return Config{URL: config.Parsed(e, url, config.HTTPURL), Secrets: config.Parsed(e, secret, secrets)}
}

// secrets parses one or more secrets, separated by commas.
func secrets(raw string) (list []config.Secret, err error) {
	for secret := range strings.SplitSeq(raw, ",") {
		if len(secret) < minSecretBytes {
			return nil, fmt.Errorf("has %d bytes: must have at least %d", len(secret), minSecretBytes)
		}
		list = append(list, config.NewSecret(secret))
	}
	return list, nil
}
