package main

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/verify"
)

// probeTokenLife is enough for one request and for clocks that differ.
const probeTokenLife = time.Minute

// probes returns requests to each service for a user who doesn't exist. Each call uses another user, so that
// no limit per user is reached.
func probes(env *config.Env) verify.Probes {
	tokens := token.NewAuthority(config.Parsed(env, "JWT_KEYS", token.ParseKeys))
	return func() ([]verify.Probe, error) {
		signed, err := tokens.IssueFor(token.Holder{
			Caller:    identity.Caller{UserID: uuid.NewString(), Role: identity.User},
			SessionID: uuid.NewString(),
		}, probeTokenLife)
		if err != nil {
			return nil, err
		}
		authorized := http.Header{"Authorization": {"Bearer " + signed}}
		return []verify.Probe{
			// A 404 could be the gateway's own; only user-service sends X-Cache.
			{Method: http.MethodGet, Path: "/api/users/me", Header: authorized, Want: []int{http.StatusNotFound}, Proof: "X-Cache"},
			{Method: http.MethodGet, Path: "/api/orders", Header: authorized, Want: []int{http.StatusOK}},
			{Method: http.MethodGet, Path: "/api/notifications", Header: authorized, Want: []int{http.StatusOK}},
		}, nil
	}
}
