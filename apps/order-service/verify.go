package main

import (
	"net/http"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/verify"
)

// probes read the orders of a user who has none: Postgres is asked. The
// stream isn't, for no read depends on it; /health says how it is.
func probes(env *config.Env) verify.Probes {
	return verify.AsNobody(env, name, verify.Probe{Path: "/orders", Want: []int{http.StatusOK}})
}
