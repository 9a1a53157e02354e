package verify

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	callers "platform.example/apps/internal/identity" // a replica has an identity, too
)

// AsNobody returns what makes the probe with the identity of a user who doesn't exist, whose id comes after the path where that ends
// with a slash. Each time it is another user.
func AsNobody(service string, probe Probe) func(*config.Env) Probes {
	return func(env *config.Env) Probes {
		signer := config.Parsed(env, "IDENTITY_KEYS", callers.ParseSigner)
		return func() ([]Probe, error) {
			nobody := callers.Caller{UserID: uuid.NewString(), Role: callers.User}
			signed, err := signer.Sign(nobody, service)
			if err != nil {
				return nil, err
			}
			made := probe
			made.Method, made.Header = http.MethodGet, http.Header{callers.Header: {signed}}
			if made.Path[len(made.Path)-1] == '/' {
				made.Path += nobody.UserID
			}
			return []Probe{made}, nil
		}
	}
}
