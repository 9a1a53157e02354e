package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestDataSurvivesTheDeletionOfPostgresPod(t *testing.T) {
	api := kit.Gateway()
	before := api.SignUp(t)
	token := api.MustSignIn(t, before)
	api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil) // fills the cache
	get := []string{"kubectl", "get", "pod", "postgres-0", "--namespace=data", "--output=json"}
	old := kit.OutputJSON[kit.Pod](t, get...)

	kit.Output(t, "kubectl", "delete", "pod", "postgres-0", "--namespace=data", "--wait=false")
	kit.Eventually(t, 3*time.Minute, "Postgres is ready in a new pod", func() error {
		// Cached users are served throughout the outage.
		cached := api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
		if hit := cached.Header.Get("X-Cache"); hit != "hit" {
			t.Errorf("during the outage of Postgres, X-Cache is %q, want hit", hit)
		}
		printed, err := kit.Run(get...)
		if err != nil {
			return err
		}
		current, err := kit.ParseJSON[kit.Pod](printed)
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

// A server that accepts connections and never responds pages once. The alerts that follow from it are inhibited, also after its end.
func TestPostgresThatHangsPagesOnce(t *testing.T) {
	var servers []kit.Process
	for _, process := range kit.Processes(t) {
		if name, _ := os.ReadFile(process.Path("comm")); strings.TrimSpace(string(name)) == "postgres" && process.InPod() {
			servers = append(servers, process)
		}
	}
	if len(servers) == 0 {
		t.Fatal("no process of Postgres runs")
	}
	signal := func(signal syscall.Signal) {
		for _, process := range servers {
			_ = syscall.Kill(int(process), signal) // a connection's process may have ended
		}
	}
	run := kit.StartLoad(t)
	defer func() {
		run.Stop()
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	kit.Eventually(t, 6*time.Minute, "no page fires", func() error {
		firing, err := kit.Alerts(`severity="page"`)
		if err == nil && len(firing) > 0 {
			err = fmt.Errorf("pages fire: %v", firing)
		}
		return err
	})
	began := time.Now()
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { signal(syscall.SIGCONT) })

	const grouped = 6 * time.Second // after this time, Alertmanager has sent a page
	since, paged := map[string]time.Time{}, map[string]time.Duration{}
	watch := func() {
		firing, err := kit.Alerts(`severity="page"`)
		if err != nil {
			t.Fatal(err)
		}
		for name := range since {
			if !firing[name] {
				delete(since, name)
			}
		}
		for name := range firing {
			if since[name].IsZero() {
				since[name] = time.Now()
			}
			if _, known := paged[name]; !known && time.Since(since[name]) > grouped {
				paged[name] = time.Since(began)
			}
		}
	}
	for time.Since(began) < 2*time.Minute { // the liveness probe restarts the container after 160 s
		watch()
		time.Sleep(time.Second)
	}
	signal(syscall.SIGCONT)
	for time.Since(began) < 6*time.Minute {
		watch()
		time.Sleep(time.Second)
	}
	if len(paged) != 1 || paged["PostgresDown"] == 0 || paged["PostgresDown"] > 2*time.Minute {
		t.Errorf("pages after %v, want one of PostgresDown within two minutes", paged)
	}
	t.Logf("pages: %v", paged)
	if len(since) > 0 {
		t.Errorf("four minutes after the outage, these pages fire: %v", since)
	}
}
