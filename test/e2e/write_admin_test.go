package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// TestMakeAdminGivesTheRoleOfAnAdmin gives a user the role of an admin. The user then reads in the audit log who changed the role.
func TestMakeAdminGivesTheRoleOfAnAdmin(t *testing.T) {
	c := kit.Gateway()
	u := c.SignUp(t)
	token := c.MustSignIn(t, u)
	c.MustCall(t, http.StatusForbidden, http.MethodGet, "/api/audit", token, nil)
	if printed, err := kit.Run("make", "-s", "admin", "EMAIL=nobody-"+u.Email); err == nil || !strings.Contains(err.Error()+printed, "sign up first") {
		t.Errorf("an unknown user: %v\n%s", err, printed)
	}
	if printed, err := kit.Run("make", "-s", "admin"); err == nil || !strings.Contains(err.Error()+printed, "EMAIL is missing") {
		t.Errorf("without an email: %v\n%s", err, printed)
	}
	kit.Output(t, "make", "-s", "admin", "EMAIL="+strings.ToUpper(u.Email))
	kit.Eventually(t, 5*time.Second, "the token with the previous role becomes invalid", func() error {
		_, err := c.Expect(http.MethodGet, "/api/users/me", token, nil, http.StatusUnauthorized)
		return err
	})
	token = c.MustSignIn(t, u)
	type auditLog struct {
		Entries []struct{ Action, Detail, Address string }
	}
	read, err := kit.ParseJSON[auditLog](string(c.MustCall(t, http.StatusOK, http.MethodGet, "/api/audit?user="+u.ID, token, nil).Body))
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, entry := range read.Entries {
		actions = append(actions, strings.TrimSpace(entry.Action+" "+entry.Detail))
		if (entry.Address == "") != (entry.Action == "user.changed") {
			t.Errorf("%s has the address %q", entry.Action, entry.Address)
		}
	}
	const want = "session.begun; user.changed role admin, by the operator; session.begun; user.created"
	if got := strings.Join(actions, "; "); got != want {
		t.Errorf("the audit log is %s, want %s", got, want)
	}
	if left := kit.Output(t, "kubectl", "--namespace=apps", "get", "jobs", "--output=name"); strings.Contains(left, "-admin-") {
		t.Errorf("a Job is left: %s", left)
	}
}
