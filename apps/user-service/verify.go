package main

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/verify"
)

// probes read a user who doesn't exist: Redis is asked first, and then Postgres.
func probes(*config.Env) verify.Probes {
	return func() ([]verify.Probe, error) {
		nobody := uuid.NewString()
		return []verify.Probe{{
			Method: http.MethodGet, Path: "/users/" + nobody, Header: identity.Caller{UserID: nobody, Role: identity.User}.Header(),
			Want: []int{http.StatusNotFound}, Proof: "X-Cache",
		}}, nil
	}
}
