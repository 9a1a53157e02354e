package verify

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	callers "platform.example/apps/internal/identity" // distinct from the identity of an endpoint
)

// AsUnknownUser returns probes that send the request of probe with the identity of a user who doesn't exist,
// another one each time. If the path ends with a slash, the user's id is appended.
func AsUnknownUser(service string, probe Probe) func(*config.Env) Probes {
	return func(env *config.Env) Probes {
		signer := config.Parsed(env, "IDENTITY_KEYS", callers.ParseSigner)
		return func() ([]Probe, error) {
			user := callers.Caller{UserID: uuid.NewString(), Role: callers.User}
			signed, err := signer.Sign(user, service)
			if err != nil {
				return nil, err
			}
			p := probe
			p.Method, p.Header = http.MethodGet, http.Header{callers.Header: {signed}}
			if p.Path[len(p.Path)-1] == '/' {
				p.Path += user.UserID
			}
			return []Probe{p}, nil
		}
	}
}
