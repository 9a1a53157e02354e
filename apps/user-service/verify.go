package main

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/verify"
)

// probes read a user who doesn't exist: Redis is asked first, and then Postgres.
func probes(env *config.Env) verify.Probes {
	signer := config.Parsed(env, "IDENTITY_KEYS", identity.ParseSigner)
	return func() ([]verify.Probe, error) {
		nobody := uuid.NewString()
		signed, err := signer.Sign(identity.Caller{UserID: nobody, Role: identity.User}, name)
		if err != nil {
			return nil, err
		}
		return []verify.Probe{{
			Method: http.MethodGet, Path: "/users/" + nobody, Header: http.Header{identity.Header: {signed}},
			Want: []int{http.StatusNotFound}, Proof: "X-Cache",
		}}, nil
	}
}
