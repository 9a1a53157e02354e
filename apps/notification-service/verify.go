package main

import (
	"net/http"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/verify"
)

// probes read the inbox of a user who has nothing in it: Postgres is asked. The
// stream isn't, for no read depends on it; /health says how it is.
func probes(env *config.Env) verify.Probes {
	return verify.AsNobody(env, name, verify.Probe{Path: "/notifications", Want: []int{http.StatusOK}})
}
