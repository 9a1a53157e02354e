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

// probeTokenLife is for one call, and for clocks that differ.
const probeTokenLife = time.Minute

// probes ask through to each service for a user who has signed in nowhere and
// has nothing. Each time it is another, so that no limit per user is reached.
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
			// A 404 could be the gateway's own; the header is user-service's.
			{Method: http.MethodGet, Path: "/api/users/me", Header: authorized, Want: []int{http.StatusNotFound}, Proof: "X-Cache"},
			{Method: http.MethodGet, Path: "/api/orders", Header: authorized, Want: []int{http.StatusOK}},
			{Method: http.MethodGet, Path: "/api/notifications", Header: authorized, Want: []int{http.StatusOK}},
		}, nil
	}
}
