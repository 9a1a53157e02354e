package faults

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestDataSurvivesTheDeletionOfPostgresPod(t *testing.T) {
	api := kit.Gateway()
	before := api.SignUp(t)
	token := api.MustSignIn(t, before)
	api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil) // fills the cache
	old, err := kit.Primary()
	if err != nil {
		t.Fatal(err)
	}
	kit.Output(t, "kubectl", "delete", "pod", old.Metadata.Name, "--namespace=data", "--wait=false")
	kit.Eventually(t, 3*time.Minute, "Postgres is ready in a new pod", func() error {
		// Cached users are served throughout the outage.
		cached := api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
		if hit := cached.Header.Get("X-Cache"); hit != "hit" {
			t.Errorf("during the outage of Postgres, X-Cache is %q, want hit", hit)
		}
		current, err := kit.Primary()
		if err != nil {
			return err
		}
		if current.Metadata.UID == old.Metadata.UID || !current.Ready() {
			return errors.New("no new pod is ready")
		}
		return nil
	})

	if email, err := kit.EmailInPostgres(before.ID); err != nil || email != before.Email {
		t.Errorf("Postgres returns %q (%v), want %q", email, err, before.Email)
	}
	// A sign-in queries Postgres, never the cache.
	kit.Eventually(t, time.Minute, "the user signs in", func() error {
		_, err := api.SignIn(before)
		return err
	})
	kit.Eventually(t, time.Minute, "the services are ready", func() error {
		for _, service := range kit.ServiceNames() {
			if err := kit.Ready(service); err != nil {
				return fmt.Errorf("after the restart of Postgres: %w", err)
			}
		}
		return nil
	})
}
