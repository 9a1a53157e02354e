package main

import (
	"net/http"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/verify"
)

// probes read a user who doesn't exist: Redis is asked first, and then Postgres.
func probes(env *config.Env) verify.Probes {
	return verify.AsNobody(env, name, verify.Probe{Path: "/users/", Want: []int{http.StatusNotFound}, Proof: "X-Cache"})
}
