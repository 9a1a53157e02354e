package main

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/servicetest"
	"platform.example/apps/user-service/internal/api"
)

func TestEveryRouteAuthorisesItsCaller(t *testing.T) {
	env := servicetest.Env(backingtest.StartPostgres(t).Env(), backingtest.StartRedis(t).Env(name), backingtest.StartStream(t).Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	signUp := func(email, role string) string {
		return servicetest.JSON[userResponse](t, servicetest.Call(t, "POST", s.HTTP+"/users",
			fmt.Sprintf(`{"email":%q,"name":"A","password":"correct horse","role":%q}`, email, role), asAdmin)).ID
	}
	owner, admin := signUp("owner@example.com", "user"), signUp("admin@example.com", "admin")
	router := chi.NewRouter()
	api.API{}.Register(router, &problem.Mapper{Log: slog.New(slog.DiscardHandler)})
	const proof = `{"current_password":"correct horse"}`
	// On a route that the caller may use, 422 and 401 refer to the body.
	servicetest.CheckAccess(t, name, s.HTTP, router, owner, admin, []servicetest.Access{
		{Route: "POST /users", Body: `{}`, Anonymous: 422, Gateway: 422, Other: 422, Owner: 422, Admin: 422},
		{Route: "GET /users", Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 200},
		{Route: "GET /users/{id}", Path: "/users/" + owner, Anonymous: 401, Gateway: 401, Other: 403, Owner: 200, Admin: 200},
		{Route: "PATCH /users/{id}", Path: "/users/" + owner, Body: `{"name":"B"}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 200, Admin: 200},
		{Route: "PATCH /users/{id}", Path: "/users/" + owner, Body: `{"role":"admin"}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 422},
		{Route: "PATCH /users/{id}", Path: "/users/" + owner, Body: `{"role":"user","current_password":"correct horse"}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 200},
		{Route: "PATCH /users/{id}", Path: "/users/" + owner, Body: `{"password":"stolen horse"}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 422, Admin: 422},
		{Route: "PATCH /users/{id}", Path: "/users/" + owner, Body: `{"email":"m@example.com","current_password":"wrong"}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 403},
		{Route: "POST /users/{id}/confirmation", Path: "/users/" + owner + "/confirmation", Anonymous: 401, Gateway: 401, Other: 403, Owner: 202, Admin: 202},
		{Route: "POST /auth/email", Body: `{"token":"x"}`, Anonymous: 422, Gateway: 422, Other: 422, Owner: 422, Admin: 422},
		{Route: "POST /auth/password-reset", Body: `{"email":"nobody@example.com"}`, Anonymous: 202, Gateway: 202, Other: 202, Owner: 202, Admin: 202},
		{Route: "POST /auth/password", Body: `{"token":"x","password":"a new horse"}`, Anonymous: 422, Gateway: 422, Other: 422, Owner: 422, Admin: 422},
		{Route: "GET /users/{id}/sessions", Path: "/users/" + owner + "/sessions", Anonymous: 401, Gateway: 401, Other: 403, Owner: 200, Admin: 200},
		{Route: "DELETE /users/{id}/sessions", Path: "/users/" + owner + "/sessions", Anonymous: 401, Gateway: 401, Other: 403, Owner: 204, Admin: 204},
		{Route: "DELETE /users/{id}/sessions/{session}", Path: "/users/" + owner + "/sessions/" + admin, Anonymous: 401, Gateway: 401, Other: 403, Owner: 404, Admin: 404},
		{Route: "GET /audit", Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 200},
		{Route: "POST /sessions", Body: `{"email":"x@example.com","password":"wrong horse"}`, Anonymous: 403, Gateway: 401, Other: 403, Owner: 403, Admin: 403},
		{Route: "POST /sessions/external", Body: `{}`, Anonymous: 403, Gateway: 422, Other: 403, Owner: 403, Admin: 403},
		{Route: "POST /sessions/refresh", Body: `{"refresh_token":"x"}`, Anonymous: 403, Gateway: 401, Other: 403, Owner: 403, Admin: 403},
		{Route: "POST /sessions/revoke", Body: `{"refresh_token":"x"}`, Anonymous: 403, Gateway: 204, Other: 403, Owner: 403, Admin: 403},
		{Route: "GET /sessions/revoked", Anonymous: 403, Gateway: 200, Other: 403, Owner: 403, Admin: 403},
		{Route: "DELETE /users/{id}", Path: "/users/" + owner, Body: `{}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 422, Admin: 422},
		{Route: "DELETE /users/{id}", Path: "/users/" + owner, Body: `{"current_password":"wrong"}`, Anonymous: 401, Gateway: 401, Other: 403, Owner: 403, Admin: 403},
	})
	// An identity outlives the role of its user for a moment.
	demoted := signUp("demoted@example.com", "admin")
	if got := direct(t, "PATCH", s.HTTP+"/users/"+demoted, `{"role":"user","current_password":"correct horse"}`, identity.Caller{UserID: admin, Role: identity.Admin}); got.Status != 200 {
		t.Fatalf("taking the role of an admin: %+v", got)
	}
	for method, body := range map[string]string{"PATCH": `{"role":"admin","current_password":"correct horse"}`, "DELETE": proof} {
		if got := direct(t, method, s.HTTP+"/users/"+owner, body, identity.Caller{UserID: demoted, Role: identity.Admin}); got.Status != 403 {
			t.Errorf("%s as a former admin: %d, want 403", method, got.Status)
		}
	}
	if got := direct(t, "DELETE", s.HTTP+"/users/"+owner, proof, identity.Caller{UserID: owner, Role: identity.User}); got.Status != 204 {
		t.Errorf("with the password the owner's deletion is %d", got.Status)
	}
}

// direct sends a request with the identity of caller, without the gateway.
func direct(t *testing.T, method, url, body string, caller identity.Caller, headers ...string) servicetest.Response {
	t.Helper()
	return servicetest.Call(t, method, url, body, append(headers, servicetest.Identity(t, name, caller))...)
}
