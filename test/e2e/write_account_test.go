package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

var code = regexp.MustCompile("Your code: ([A-Z2-7]+)")

// emailed waits for an unread email with that subject to the address, and returns its code.
func emailed(t *testing.T, read map[string]bool, address, subject string) (found string) {
	t.Helper()
	type mail struct{ To, Subject, Body, At string }
	kit.Eventually(t, 2*time.Minute, fmt.Sprintf("an email %q", subject), func() error {
		pods, err := kit.Pods("notification-service")
		if err != nil {
			return err
		}
		for _, pod := range pods { // only one of the pods has sent the email
			printed, err := kit.Run("kubectl", "get", "--raw", "/api/v1/namespaces/apps/pods/"+pod.Metadata.Name+":9090/proxy/mails")
			if err != nil {
				continue // a standby pod of a version without emails
			}
			mails, err := kit.ParseJSON[[]mail](printed)
			if err != nil {
				return err
			}
			for _, m := range mails {
				if key := m.At + m.Subject; m.To == address && m.Subject == subject && !read[key] {
					read[key] = true
					if match := code.FindStringSubmatch(m.Body); match != nil {
						found = match[1]
					}
					return nil
				}
			}
		}
		return fmt.Errorf("no email to %s", address)
	})
	return found
}

// TestAccountLifecycle signs up, confirms, changes the email, resets the password, becomes an admin, ships an order, deletes the
// account, and checks that no data of the user is left.
func TestAccountLifecycle(t *testing.T) {
	api, read := kit.Gateway(), map[string]bool{}
	u := kit.User{Email: "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", Password: rand.Text()}
	signedUp := api.MustCall(t, http.StatusCreated, http.MethodPost, "/api/users", "", map[string]string{"email": u.Email, "name": "A", "password": u.Password})
	created, err := kit.ParseJSON[kit.User](string(signedUp.Body))
	if err != nil {
		t.Fatal(err)
	}
	u.ID = created.ID
	token := api.MustSignIn(t, u)
	const confirmSubject = "Confirm your email address"
	confirm := func(want int, secret string) {
		t.Helper()
		api.MustCall(t, want, http.MethodPost, "/api/auth/email", "", map[string]string{"token": secret})
	}
	type account struct {
		Email     string
		Confirmed bool `json:"email_confirmed"`
	}
	is := func(email string, confirmed bool) {
		t.Helper()
		got, err := kit.ParseJSON[account](string(api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil).Body))
		if want := (account{email, confirmed}); err != nil || got != want {
			t.Errorf("the account is %+v, want %+v: %v", got, want, err)
		}
	}
	is(u.Email, false)
	first := emailed(t, read, u.Email, confirmSubject)
	confirm(http.StatusNoContent, first)
	confirm(http.StatusUnprocessableEntity, first)
	is(u.Email, true)

	moved := "moved-" + u.Email
	api.MustCall(t, http.StatusOK, http.MethodPatch, "/api/users/me", token, map[string]string{"email": moved, "current_password": u.Password})
	is(u.Email, true)
	emailed(t, read, u.Email, "Your email address is about to change")
	confirm(http.StatusNoContent, emailed(t, read, moved, confirmSubject))
	is(moved, true)
	u.Email = moved

	api.MustCall(t, http.StatusAccepted, http.MethodPost, "/api/auth/password-reset", "", map[string]string{"email": u.Email})
	u.Password = rand.Text()
	api.MustCall(t, http.StatusNoContent, http.MethodPost, "/api/auth/password", "",
		map[string]string{"token": emailed(t, read, u.Email, "Reset your password"), "password": u.Password})
	emailed(t, read, u.Email, "Your password has changed")
	kit.Eventually(t, 5*time.Second, "the token from before the reset becomes invalid", func() error {
		_, err := api.Expect(http.MethodGet, "/api/users/me", token, nil, http.StatusUnauthorized)
		return err
	})

	kit.Output(t, "make", "-s", "admin", "EMAIL="+u.Email)
	token = api.MustSignIn(t, u)
	ordered, err := api.Order(token, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	for _, move := range []string{"pay", "ship"} {
		api.MustCall(t, http.StatusOK, http.MethodPost, "/api/orders/"+ordered.ID+"/"+move, token, nil)
	}
	api.AwaitNotifications(t, token, "order.shipped", ordered)

	api.MustCall(t, http.StatusNoContent, http.MethodDelete, "/api/users/me", token, map[string]string{"current_password": u.Password})
	if _, err := api.SignIn(u); err == nil {
		t.Error("a deleted user signs in")
	}
	helpers := shellHelpers(t)
	count := func(database, from string) string {
		t.Helper()
		printed, err := kit.Run("bash", "-c", helpers+`in_postgres `+database+` "SELECT 'rows:' || count(*) FROM `+from+`"`)
		if err != nil {
			t.Fatalf("%v: %s", err, printed)
		}
		_, rows, _ := strings.Cut(printed, "rows:")
		return strings.Fields(rows)[0]
	}
	kit.Eventually(t, time.Minute, "no data of the user is left", func() error {
		for from, database := range map[string]string{
			"notifications WHERE user_id = '" + u.ID + "'": "notifications", "orders WHERE user_id = '" + u.ID + "'": "orders",
			"idempotency_keys WHERE user_id = '" + u.ID + "'": "orders", "users WHERE id = '" + u.ID + "'": "users",
			"links WHERE user_id = '" + u.ID + "'": "users", "outbox WHERE payload::text LIKE '%secret%' AND user_id = '" + u.ID + "'": "users",
			"sessions WHERE revoked_at IS NULL AND user_id = '" + u.ID + "'": "users",
		} {
			if rows := count(database, from); rows != "0" {
				return fmt.Errorf("%s rows of %s", rows, from)
			}
		}
		return nil
	})
	if rows := count("orders", "orders WHERE id = '"+url.PathEscape(ordered.ID)+"' AND status = 'shipped'"); rows != "1" {
		t.Errorf("%s orders are kept, want only the shipped one", rows)
	}
}
