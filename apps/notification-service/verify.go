package main

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/verify"
)

// probes read the inbox of a user who has nothing in it: Postgres is asked. The
// stream isn't, for no read depends on it; /health says how it is.
func probes(*config.Env) verify.Probes {
	return func() ([]verify.Probe, error) {
		nobody := identity.Caller{UserID: uuid.NewString(), Role: identity.User}
		return []verify.Probe{{Method: http.MethodGet, Path: "/notifications", Header: nobody.Header(), Want: []int{http.StatusOK}}}, nil
	}
}
