package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/servicetest"
	"platform.example/apps/order-service/internal/api"
)

func TestEveryRouteAuthorisesItsCaller(t *testing.T) {
	env := servicetest.Env(backingtest.StartPostgres(t).Env(), backingtest.StartStream(t).Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	owner, boss := strings.TrimPrefix(alice, "X-User-Id: "), strings.TrimPrefix(root, "X-User-Id: ")
	order := "/orders/" + servicetest.JSON[struct{ ID string }](t, servicetest.Call(t, "POST", s.HTTP+"/orders",
		`{"currency":"EUR","items":[{"sku":"tea","quantity":1,"unit_price":450}]}`, alice, "Idempotency-Key: access")).ID
	router := chi.NewRouter()
	api.API{}.Register(router, &problem.Mapper{Log: slog.New(slog.DiscardHandler)})
	move := func(verb string) servicetest.Access {
		return servicetest.Access{Route: "POST /orders/{id}/" + verb, Path: order + "/" + verb, Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 200}
	}
	cancel := servicetest.Access{Route: "POST /orders/{id}/cancel", Path: order + "/cancel", Anonymous: 401, Gateway: 401, Other: 404, Owner: 409, Admin: 409}
	servicetest.CheckAccess(t, name, s.HTTP, router, owner, boss, []servicetest.Access{
		{Route: "POST /orders", Body: `{}`, Anonymous: 401, Gateway: 401, Other: 400, Owner: 400, Admin: 400}, // without an Idempotency-Key
		{Route: "GET /orders", Anonymous: 401, Gateway: 401, Other: 200, Owner: 200, Admin: 200},
		{Route: "GET /orders", Path: "/orders?user_id=" + owner, Anonymous: 401, Gateway: 401, Other: 403, Owner: 200, Admin: 200},
		{Route: "GET /orders/{id}", Path: order, Anonymous: 401, Gateway: 401, Other: 404, Owner: 200, Admin: 200},
		move("pay"), move("ship"), cancel, move("deliver"),
	})
}
