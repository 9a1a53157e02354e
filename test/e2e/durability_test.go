package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestDataSurvivesTheDeletionOfPostgresPod(t *testing.T) {
	api := gateway()
	before := api.signUp(t)
	token := api.mustSignIn(t, before)
	api.mustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil) // fills the cache
	get := []string{"kubectl", "get", "pod", "postgres-0", "--namespace=data", "--output=json"}
	old := parsed[pod](t, get...)

	output(t, "kubectl", "delete", "pod", "postgres-0", "--namespace=data", "--wait=false")
	eventually(t, 3*time.Minute, "Postgres is ready in a new pod", func() error {
		// Cached users are served throughout the outage.
		cached := api.mustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
		if hit := cached.header.Get("X-Cache"); hit != "hit" {
			t.Errorf("during the outage of Postgres, X-Cache is %q, want hit", hit)
		}
		printed, err := attempt(get...)
		if err != nil {
			return err
		}
		current, err := parse[pod](printed)
		if err != nil {
			return err
		}
		if current.Metadata.UID == old.Metadata.UID || !current.ready() {
			return errors.New("no new pod is ready")
		}
		return nil
	})

	if email, err := emailInPostgres(before.ID); err != nil || email != before.Email {
		t.Errorf("Postgres returns %q (%v), want %q", email, err, before.Email)
	}
	// A sign-in queries Postgres, never the cache.
	eventually(t, time.Minute, "the user signs in", func() error {
		_, err := api.signIn(before)
		return err
	})
	eventually(t, time.Minute, "the services are ready", func() error {
		for _, service := range serviceNames() {
			if err := ready(service); err != nil {
				return fmt.Errorf("after the restart of Postgres: %w", err)
			}
		}
		return nil
	})
}
