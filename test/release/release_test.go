package release

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

// other returns a copy of the sources in which a service, or all of them, has another version.
func other(t *testing.T, service string) variant.Copy {
	t.Helper()
	clone := variant.Copy(kit.CopySources(t))
	if err := clone.Differ(service, fmt.Sprintf("variant of %d", time.Now().UnixNano())); err != nil {
		t.Fatal(err)
	}
	preview(t, string(clone))
	return clone
}

// preview returns the output of pulumi preview from a copy of the sources.
func preview(t *testing.T, clone string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kit.CommandLimit)
	defer cancel()
	printed, err := variant.Copy(clone).Preview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// restored restores the version of the repository's sources after the test, without a standby version.
func restored(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if err := errors.Join(release(t, kit.Root, "up", "-unwatched", "-takeover"), release(t, kit.Root, "retire")); err != nil {
			t.Errorf("the platform isn't restored: %v", err)
		}
	})
}

func TestReleaseOfAllServicesAndTheirRollbackLoseNothing(t *testing.T) {
	restored(t)
	previous := kit.LiveVersions(t)
	clone := other(t, variant.All)
	kit.UnderLoad(t, func() map[string]string {
		if err := release(t, string(clone), "up", "-watch", "35s"); err != nil {
			t.Fatal(err)
		}
		next := kit.LiveVersions(t)
		for service := range previous {
			if next[service] == previous[service] {
				t.Errorf("%s is still %s", service, previous[service])
			}
		}
		if err := release(t, kit.Root, "rollback"); err != nil {
			t.Fatal(err)
		}
		return next
	})
	if now := kit.LiveVersions(t); !maps.Equal(now, previous) {
		t.Errorf("after the rollback the versions are %v, want %v", now, previous)
	}
	// The next pulumi up doesn't release the rolled-back version again.
	if printed := preview(t, string(clone)); !strings.Contains(printed, "user-service stays at "+previous["user-service"]) {
		t.Errorf("the preview of the rolled-back version is\n%s", printed)
	}
	if printed := kit.Output(t, "make", "-s", "releases"); !strings.Contains(printed, "user-service") || !strings.Contains(printed, "was rolled back") {
		t.Errorf("make releases prints\n%s", printed)
	}
	if err := release(t, kit.Root, "rollback"); err != nil { // and back again
		t.Error(err)
	}
}

// A plain pulumi up is a complete release. The next one returns to the version of the sources.
func TestReleaseByPulumiAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	restored(t)
	previous := kit.LiveVersions(t)
	clone := string(other(t, "user-service"))
	shown := preview(t, clone)
	if want := "user-service is released: from " + previous["user-service"] + " to "; !strings.Contains(shown, want) {
		t.Errorf("the preview doesn't contain %q, but\n%s", want, shown)
	}
	if strings.Contains(shown, "order-service is released") {
		t.Error("the preview releases an unchanged service")
	}
	kit.UnderLoad(t, func() map[string]string {
		if printed, err := kit.PulumiUp(clone); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		next := kit.LiveVersions(t)
		if printed, err := kit.PulumiUp(kit.Root); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		return next
	})
	if now := kit.LiveVersions(t); !maps.Equal(now, previous) {
		t.Errorf("after the sources were reverted, the versions are %v, want %v", now, previous)
	}
}

// reads inserts the statement before every read of a user.
func reads(c variant.Copy, harm string) error {
	return errors.Join(
		c.Replace("apps/user-service/internal/api/api.go", `router.Get("/users/{id}",`, `router.With(harmed).Get("/users/{id}",`),
		c.Write("apps/user-service/internal/api/variant.go", "package api\n\nimport (\n\t\"math/rand\"\n\t\"net/http\"\n\t\"time\"\n)\n\n"+
			"var began = time.Now()\n\nfunc harmed(next http.Handler) http.Handler {\n\treturn http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {\n"+
			"\t\t_, _ = began, rand.Int()\n\t\t"+harm+"\n\t\tnext.ServeHTTP(w, r)\n\t})\n}\n"))
}

// bad is versions of user-service that must never go live, with the expected error of each.
var bad = []struct {
	name string
	harm func(clone variant.Copy) error
	want string
}{
	{"that exits at once", func(c variant.Copy) error {
		return c.Write("apps/user-service/variant.go", "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc init() {\n\tif len(os.Args) < 2 {\n"+
			"\t\tfmt.Fprintln(os.Stderr, \"the licence has ended\")\n\t\tos.Exit(3)\n\t}\n}\n")
	}, "its last log line: the licence has ended"},
	{"that reports another version", func(c variant.Copy) error {
		return c.Replace("apps/internal/health/health.go", `"version": h.service.Version,`, `"version": "not " + h.service.Version,`)
	}, "verify: endpoint"},
	{"that returns 5 % errors", func(c variant.Copy) error {
		return reads(c, "if rand.Intn(20) == 0 {\n\t\t\tw.WriteHeader(500)\n\t\t\treturn\n\t\t}")
	}, "responds with 500, want 404"},
	{"that is slow", func(c variant.Copy) error {
		return reads(c, "time.Sleep(400 * time.Millisecond)")
	}, "took longer than 250ms"},
	{"whose migration fails", func(c variant.Copy) error {
		return c.Write("apps/user-service/migrations/99999_broken.sql", "-- +goose Up\nALTER TABLE no_such_table ADD COLUMN x text;\n")
	}, "no_such_table"},
	{"that can't be scheduled", func(c variant.Copy) error {
		return errors.Join(c.Differ("user-service", "large"),
			c.Replace("infra/catalog/services.go", "192 * quantity.MiB", "1024 * 192 * quantity.MiB"))
	}, "finds no node"},
}

func TestReleaseOfABadVersionIsRefused(t *testing.T) {
	restored(t)
	previous := kit.LiveVersions(t)
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "that returns 5 % errors" {
				t.Skip("-short")
			}
			clone := variant.Copy(kit.CopySources(t))
			kit.ShortenRollouts(t, string(clone))
			if err := c.harm(clone); err != nil {
				t.Fatal(err)
			}
			preview(t, string(clone))
			kit.UnderLoad(t, func() map[string]string {
				err := release(t, string(clone), "up", "-watch", "35s")
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the release returns\n%v\nwant %s", err, c.want)
				}
				return nil
			})
			if now := kit.LiveVersions(t); !maps.Equal(now, previous) {
				t.Errorf("the versions are %v, want %v", now, previous)
			}
		})
	}
	if err := release(t, kit.Root, "up", "-unwatched"); err != nil {
		t.Errorf("the next release: %v", err)
	}
}

// A version that becomes bad later is detected only by the watch.
func TestBadReleaseIsRolledBack(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	restored(t)
	previous := kit.LiveVersions(t)
	clone := variant.Copy(kit.CopySources(t))
	if err := reads(clone, "if time.Since(began) > 25*time.Second && rand.Intn(20) == 0 {\n\t\t\tw.WriteHeader(500)\n\t\t\treturn\n\t\t}"); err != nil {
		t.Fatal(err)
	}
	preview(t, string(clone))
	run := kit.StartLoad(t)
	defer func() {
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	err := release(t, string(clone), "up", "-watch", "2m")
	if err == nil || !strings.Contains(err.Error(), "returned 5xx (limit") {
		t.Errorf("it isn't rolled back: %v", err)
	}
	if now := kit.LiveVersions(t); !maps.Equal(now, previous) {
		t.Errorf("the versions are %v, want %v", now, previous)
	}
	back := time.Now()
	time.Sleep(5 * time.Second)
	for _, lost := range run.Stop().Lost() {
		if lost.At.After(back) {
			t.Errorf("requests are lost after the rollback: %+v", lost)
		}
	}
}

// Whenever a release is killed, the traffic stays on verified versions, and the next run completes the release.
func TestReleaseThatIsKilledIsTakenOver(t *testing.T) {
	restored(t)
	clone := string(other(t, "user-service"))
	previous := kit.LiveVersions(t)["user-service"]
	for _, completed := range []string{"user-service: plan", "user-service: migrate", "user-service: roll out", "user-service: verify", "user-service: switch"} {
		t.Run(completed, func(t *testing.T) {
			if testing.Short() && !strings.HasSuffix(completed, "verify") {
				t.Skip("-short")
			}
			if strings.HasSuffix(completed, "migrate") { // versions with the same migrations share one Job: this comment needs another
				const file = "apps/user-service/migrations/00001_users.sql"
				if err := variant.Copy(clone).Replace(file, "-- +goose Up\n", fmt.Sprintf("-- +goose Up\n-- at %d\n", time.Now().UnixNano())); err != nil {
					t.Fatal(err)
				}
				preview(t, clone)
			}
			kit.UnderLoad(t, func() map[string]string {
				killed := begin(t, clone, "up", "-watch", "35s")
				if err := killed.until(step, completed); err != nil {
					t.Fatal(err)
				}
				killed.kill(t)
				if err := release(t, clone, "up", "-takeover", "-watch", "35s"); err != nil {
					t.Fatal(err)
				}
				next := kit.LiveVersions(t)
				if next["user-service"] == previous {
					t.Errorf("the live version is still %s", previous)
				}
				if err := release(t, clone, "rollback"); err != nil {
					t.Fatal(err)
				}
				return next
			})
			if err := release(t, clone, "retire"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Faults of the cluster during a release.
func TestReleaseDuringClusterFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	restored(t)
	previous := kit.LiveVersions(t)["user-service"]
	apiServer := func(t *testing.T) {
		components, err := kit.Status()
		if err != nil {
			t.Fatal(err)
		}
		pid := components["kube-apiserver"].PID
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, field, value string // the output after which it begins
		trouble            func(t *testing.T)
	}{
		{"the API server hangs before the rollout", step, "user-service: plan", apiServer},
		{"the API server hangs before the migration or the rollout", step, "user-service: image", apiServer},
		{"the API server hangs during the verification", step, "user-service: roll out", apiServer},
		{"the API server hangs during the switch", step, "user-service: verify", apiServer},
		{"the API server hangs during the watch", event, "switch", apiServer},
		{"a pod is killed during the switch", step, "user-service: verify", func(t *testing.T) {
			kit.Output(t, "kubectl", "delete", "pod", "--namespace=apps", "--selector=app.kubernetes.io/name=order-service", "--wait=false")
		}},
		{"the edge's pod is killed during the switch", step, "user-service: verify", func(t *testing.T) {
			kit.Output(t, "kubectl", "delete", "pod", "--namespace=edge", "--selector=app.kubernetes.io/name=edge", "--wait=false")
		}},
		{"the cache is deleted during the switch", step, "user-service: verify", func(t *testing.T) {
			kit.Output(t, "kubectl", "delete", "pod", "--namespace=data", "--selector=app.kubernetes.io/name=redis-cache", "--wait=false")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clone := string(other(t, "user-service"))
			kit.UnderLoad(t, func() map[string]string {
				troubled := begin(t, clone, "up", "-watch", "35s")
				if err := troubled.until(c.field, c.value); err != nil {
					t.Fatal(err)
				}
				c.trouble(t)
				if err := troubled.end(); err != nil {
					t.Logf("the release gives up: %v", err)
					if err := release(t, clone, "up", "-takeover", "-watch", "35s"); err != nil {
						t.Fatal(err)
					}
				}
				next := kit.LiveVersions(t)
				if next["user-service"] == previous {
					t.Errorf("the live version is still %s", previous)
				}
				return next
			})
			if err := errors.Join(release(t, clone, "rollback"), release(t, clone, "retire")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The previous version works with an expanded schema: while the next version is live, and after a rollback.
func TestReleaseWithAMigrationKeepsThePreviousVersionWorking(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	restored(t)
	clone := other(t, "user-service")
	if err := clone.Write("apps/user-service/migrations/00003_nickname.sql",
		"-- +goose Up\nALTER TABLE users ADD COLUMN nickname text NOT NULL DEFAULT '';\n"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := kit.UsersSQL("ALTER TABLE users DROP COLUMN nickname; DELETE FROM goose_db_version WHERE version_id = 3", ""); err != nil {
			t.Error(err)
		}
	})
	kit.UnderLoad(t, func() map[string]string {
		if err := release(t, string(clone), "up", "-watch", "35s"); err != nil {
			t.Fatal(err)
		}
		next := kit.LiveVersions(t)
		if err := release(t, kit.Root, "rollback"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		return next
	})
}

func TestReleaseErrors(t *testing.T) {
	restored(t)
	if err := release(t, kit.Root, "retire"); err != nil {
		t.Fatal(err)
	}
	live := kit.LiveVersions(t)["user-service"]
	for _, c := range []struct {
		name      string
		arguments []string
		want      string
	}{
		{"an unknown version", []string{"up", "-version", "ffffffffffff"}, `no release has version "ffffffffffff"`},
		{"a version that is live", []string{"up", "-version", live}, live + " is live already: nothing to release"},
		{"an unknown release number", []string{"up", "-version", "#99999"}, "release 99999 is not in the history"},
		{"a rollback without a standby version", []string{"rollback"}, "service user-service: no standby version: version " + live},
		{"a stack that doesn't exist", []string{"-stack", "dev", "up"}, "there is no stack dev"},
		{"a promotion to a stack that builds images", []string{"promote"}, "stack local builds its own images"},
		{"no command", []string{"unroll"}, `there is no command "unroll"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := release(t, kit.Root, c.arguments...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the command returns %v, want %s", err, c.want)
			}
		})
	}
	t.Run("two concurrent commands", func(t *testing.T) {
		clone := string(other(t, "user-service"))
		first := begin(t, clone, "up", "-watch", "1m")
		if err := first.until(step, "user-service: plan"); err != nil {
			t.Fatal(err)
		}
		if err := release(t, kit.Root, "rollback"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(process %d) holds the Lease of releases", first.PID())) {
			t.Errorf("the second command returns %v", err)
		}
		if err := first.until(event, "switch"); err != nil { // before that, pulumi's own lock refuses it
			t.Fatal(err)
		}
		if printed, err := kit.PulumiUp(kit.Root); err == nil || !strings.Contains(printed, "holds the Lease of releases") {
			t.Errorf("pulumi up returns %v\n%s", err, printed)
		}
		if err := first.end(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a selector that was changed by hand", func(t *testing.T) {
		service := kit.Output(t, "kubectl", "get", "service", "user-service", "--namespace=apps", "--output=jsonpath={.spec.selector.colour}")
		hand := map[string]string{"blue": "green", "green": "blue"}[service]
		kit.Output(t, "kubectl", "patch", "service", "user-service", "--namespace=apps", `--patch={"spec":{"selector":{"colour":"`+hand+`"}}}`)
		const want = "service user-service: its live Service selects "
		if printed, err := kit.PulumiUp(kit.Root); err == nil || !strings.Contains(printed, want+hand) {
			t.Errorf("pulumi up returns %v\n%s", err, printed)
		}
		if err := release(t, kit.Root, "up"); err == nil || !strings.Contains(err.Error(), "make repair") {
			t.Errorf("a release returns %v", err)
		}
		if err := release(t, kit.Root, "repair"); err != nil {
			t.Fatal(err)
		}
		if now := kit.Output(t, "kubectl", "get", "service", "user-service", "--namespace=apps", "--output=jsonpath={.spec.selector.colour}"); now != service {
			t.Errorf("after the repair, the Service selects %s, want %s", now, service)
		}
	})
}
