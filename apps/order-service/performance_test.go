//go:build !race

package main

import (
	"testing"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/performancetest"
	"platform.example/apps/internal/servicetest"
)

func TestPerformanceIdleMemory(t *testing.T) {
	env := servicetest.Env(backingtest.StartPostgres(t).Env(), backingtest.StartStream(t).Env(name))
	b := servicetest.Build(t, "platform.example/apps/order-service", env)
	b.Run("migrate")
	performancetest.CheckIdleMemory(t, b.Start().PID())
}
