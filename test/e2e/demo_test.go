package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// This is what the last screen of make up tells people to try.
func TestTheDemoUserSignsIn(t *testing.T) {
	token := strings.TrimSpace(output(t, "make", "-s", "token"))
	email := strings.TrimSpace(output(t, "pulumi", "stack", "output", "demoEmail", "--stack", "local"))

	var last answer
	for range 2 {
		last = gateway().mustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
	}
	if cached := last.header.Get("X-Cache"); cached != "hit" {
		t.Errorf("X-Cache is %q the second time, want hit", cached)
	}
	me, err := parse[user](string(last.body))
	if err != nil {
		t.Fatal(err)
	}
	if me.Email != email {
		t.Errorf("the demo user is %q, but the stack's output says %q", me.Email, email)
	}
}
