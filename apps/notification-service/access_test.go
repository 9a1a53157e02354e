package main

import (
	"log/slog"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/servicetest"
	"platform.example/apps/notification-service/internal/api"
)

func TestEveryRouteAuthorisesItsCaller(t *testing.T) {
	env := servicetest.Env(backingtest.StartPostgres(t).Env(), backingtest.StartStream(t).Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	router := chi.NewRouter()
	api.API{}.Register(router, &problem.Mapper{Log: slog.New(slog.DiscardHandler)})
	// The test of the inbox covers notifications of other users.
	servicetest.CheckAccess(t, name, s.HTTP, router, uuid.NewString(), uuid.NewString(), []servicetest.Access{
		{Route: "GET /notifications", Anonymous: 401, Gateway: 401, Other: 200, Owner: 200, Admin: 200},
		{Route: "POST /notifications/read", Anonymous: 401, Gateway: 401, Other: 204, Owner: 204, Admin: 204},
		{Route: "POST /notifications/{id}/read", Path: "/notifications/" + uuid.NewString() + "/read", Anonymous: 401, Gateway: 401, Other: 404, Owner: 404, Admin: 404},
	})
}
