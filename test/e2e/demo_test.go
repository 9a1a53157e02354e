package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// The commands that the last screen of make up suggests.
func TestDemoUserSignsIn(t *testing.T) {
	token := strings.TrimSpace(output(t, "make", "-s", "token"))
	email := strings.TrimSpace(output(t, "pulumi", "stack", "output", "demoEmail", "--stack", "local"))

	var last answer
	for range 2 {
		last = gateway().mustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
	}
	if cached := last.header.Get("X-Cache"); cached != "hit" {
		t.Errorf("X-Cache of the second response is %q, want hit", cached)
	}
	me, err := parse[user](string(last.body))
	if err != nil {
		t.Fatal(err)
	}
	if me.Email != email {
		t.Errorf("the demo user is %q, but the stack's output is %q", me.Email, email)
	}
}
