package main

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/verify"
)

// probes read the orders of a user who has none: Postgres is asked. The
// stream isn't, for no read depends on it; /health says how it is.
func probes(env *config.Env) verify.Probes {
	signer := config.Parsed(env, "IDENTITY_KEYS", identity.ParseSigner)
	return func() ([]verify.Probe, error) {
		nobody, err := signer.Sign(identity.Caller{UserID: uuid.NewString(), Role: identity.User}, name)
		if err != nil {
			return nil, err
		}
		return []verify.Probe{{Method: http.MethodGet, Path: "/orders", Header: http.Header{identity.Header: {nobody}}, Want: []int{http.StatusOK}}}, nil
	}
}
