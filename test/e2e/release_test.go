package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform.example/test/load"
	"platform.example/test/variant"
)

// releaseRate is how many requests a second the platform has to answer while it is released, of reads, writes and orders:
// RATE of the environment, else what leaves the machine air for the release.
var releaseRate = sync.OnceValues(func() (float64, error) {
	if rate := os.Getenv("RATE"); rate != "" {
		return strconv.ParseFloat(rate, 64)
	}
	return load.Beside(context.Background(), load.Options{BaseURL: gateway().base, RootCAs: authority()})
})

// loaded begins to use the platform.
func loaded(t *testing.T) *load.Run {
	t.Helper()
	rate, err := releaseRate()
	if err != nil {
		t.Fatal(err)
	}
	run, err := load.Start(context.Background(), load.Options{BaseURL: gateway().base, RootCAs: authority(), Rate: rate, Duration: 9 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f requests a second", rate)
	return run
}

// releaseLimit is how long a release may take here, its watch included.
const releaseLimit = 4 * time.Minute

// releaseCommand is `release` with these arguments, from a copy of the sources.
func releaseCommand(ctx context.Context, folder string, arguments ...string) *exec.Cmd {
	root, _ := os.Getwd() // TestMain went there
	command := exec.CommandContext(ctx, filepath.Join(root, "bin", "release"), append([]string{"-json"}, arguments...)...)
	command.Dir = folder
	// What pulumi starts has to end with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Who is interrupted lets go of the locks, and of what was begun.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = time.Minute
	return command
}

// told is a line of what the release command prints.
type told struct {
	Said    string `json:"said"`
	Event   string `json:"event"`
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
	Report  string `json:"report"`
}

// releasing is a run of the release command.
type releasing struct {
	command *exec.Cmd
	mutex   sync.Mutex
	lines   []told
	stderr  bytes.Buffer
	done    chan error
}

// begin runs the release command from a copy of the sources.
func begin(t *testing.T, folder string, arguments ...string) *releasing {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	r := &releasing{command: releaseCommand(ctx, folder, arguments...), done: make(chan error, 1)}
	printed, err := r.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.command.Stderr = &r.stderr
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer cancel()
		lines := bufio.NewScanner(printed)
		for lines.Scan() {
			var line told
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				r.mutex.Lock()
				r.lines = append(r.lines, line)
				r.mutex.Unlock()
			}
		}
		r.done <- r.command.Wait()
	}()
	return r
}

// said is all that it has said so far.
func (r *releasing) said() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var text strings.Builder
	for _, line := range r.lines {
		fmt.Fprintln(&text, strings.TrimSpace(line.Said+line.Event+" "+line.Outcome+" "+line.Why))
	}
	return text.String()
}

// until waits until it says something, and is an error if it ends before.
func (r *releasing) until(words string) error {
	return within(releaseLimit, func() error {
		if strings.Contains(r.said(), words) {
			return nil
		}
		return fmt.Errorf("it doesn't say %q, but\n%s%s", words, r.said(), &r.stderr)
	})
}

// end waits for its end: nil, or an error with all that it said.
func (r *releasing) end() error {
	err := <-r.done
	_ = syscall.Kill(-r.command.Process.Pid, syscall.SIGKILL) // of its processes, what an interrupt didn't end
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, r.said(), &r.stderr)
	}
	return nil
}

// kill ends it, and the pulumi that it has started, in the middle of whatever they do.
func (r *releasing) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-r.command.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.done
}

// release is a whole run of the release command.
func release(t *testing.T, folder string, arguments ...string) error {
	t.Helper()
	return begin(t, folder, arguments...).end()
}

// versions is what is live of each service.
func versions(t *testing.T) map[string]string {
	t.Helper()
	live := map[string]string{}
	for _, service := range serviceNames() {
		_, live[service], _ = strings.Cut(output(t, "kubectl", "get", "service", service, "--namespace=apps",
			`--output=jsonpath={.metadata.annotations.platform\.example/live}`), " ")
	}
	return live
}

// other is a copy of the sources in which a service, or all of them, is another version.
func other(t *testing.T, service string) variant.Copy {
	t.Helper()
	clone := variant.Copy(copyOfTheClone(t))
	if err := clone.Differ(service, fmt.Sprintf("variant of %d", time.Now().UnixNano())); err != nil {
		t.Fatal(err)
	}
	preview(t, string(clone))
	return clone
}

// preview is what pulumi says of an update from a copy of the sources.
func preview(t *testing.T, clone string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	said, err := variant.Copy(clone).Preview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// underLoad uses the platform as people do while something is done to it. Nothing that they ask for may be lost, each order is
// there and told of once, and nobody may have answered but versions that were live before or after it, or, as it says itself,
// in between.
func underLoad(t *testing.T, do func() (between map[string]string)) {
	t.Helper()
	before := versions(t)
	run := loaded(t)
	defer func() {
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	between := do()
	time.Sleep(2 * time.Second) // what comes just after is used, too
	result := run.Stop()
	t.Logf("%s", result.Line())
	if err := result.Err(); err != nil {
		t.Errorf("%v\n%s", err, result.Summary())
	}
	after := versions(t)
	for _, sample := range result.Samples {
		for _, by := range sample.By {
			if version := by.Version; version != before[by.Service] && version != after[by.Service] && version != between[by.Service] {
				t.Fatalf("%s %s answered in %s: it never was to be live", by.Service, version, by.Colour)
			}
		}
	}
}

// restored has the platform be what the repository's sources say after a test, with nothing standing by.
func restored(t *testing.T) (root string) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(release(t, root, "up", "-unwatched", "-takeover"), release(t, root, "retire")); err != nil {
			t.Errorf("the platform isn't as it was: %v", err)
		}
	})
	return root
}

func TestReleaseOfAllServicesAndTheirRollbackLoseNothing(t *testing.T) {
	root := restored(t)
	former := versions(t)
	clone := other(t, variant.All)
	underLoad(t, func() map[string]string {
		if err := release(t, string(clone), "up", "-watch", "35s"); err != nil {
			t.Fatal(err)
		}
		next := versions(t)
		for service := range former {
			if next[service] == former[service] {
				t.Errorf("%s is still %s", service, former[service])
			}
		}
		if err := release(t, root, "rollback"); err != nil {
			t.Fatal(err)
		}
		return next
	})
	if now := versions(t); !maps.Equal(now, former) {
		t.Errorf("after the rollback the versions are %v, want %v", now, former)
	}
	// Whoever runs pulumi up next doesn't release the rolled back version again.
	if said := preview(t, string(clone)); !strings.Contains(said, "user-service stays at "+former["user-service"]) {
		t.Errorf("a preview after the rollback says\n%s", said)
	}
	if said := output(t, "make", "-s", "releases"); !strings.Contains(said, "user-service") || !strings.Contains(said, "was rolled back") {
		t.Errorf("make releases says\n%s", said)
	}
	if err := release(t, root, "rollback"); err != nil { // to and fro
		t.Error(err)
	}
}

// A plain pulumi up is a complete release, and the next one goes back where the sources do.
func TestReleaseByPulumiAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	root := restored(t)
	former := versions(t)
	clone := string(other(t, "user-service"))
	shown := preview(t, clone)
	if want := "user-service is released: from " + former["user-service"] + " to "; !strings.Contains(shown, want) {
		t.Errorf("the preview doesn't say %q, but\n%s", want, shown)
	}
	if strings.Contains(shown, "order-service is released") {
		t.Error("the preview says that an untouched service is released")
	}
	underLoad(t, func() map[string]string {
		if said, err := upFrom(clone); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		next := versions(t)
		if said, err := upFrom(root); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return next
	})
	if now := versions(t); !maps.Equal(now, former) {
		t.Errorf("the sources went back, the versions are %v, want %v", now, former)
	}
}

// reads has something come before every read of a user.
func reads(c variant.Copy, harm string) error {
	return errors.Join(
		c.Replace("apps/user-service/internal/api/api.go", "errs.Handle(a.get))", "harmed(errs.Handle(a.get)))"),
		c.Write("apps/user-service/internal/api/variant.go", "package api\n\nimport (\n\t\"math/rand\"\n\t\"net/http\"\n\t\"time\"\n)\n\n"+
			"var began = time.Now()\n\nfunc harmed(next http.HandlerFunc) http.HandlerFunc {\n\treturn func(w http.ResponseWriter, r *http.Request) {\n"+
			"\t\t_, _ = began, rand.Int()\n\t\t"+harm+"\n\t\tnext(w, r)\n\t}\n}\n"))
}

// bad is versions of user-service that must never be live, and what is said of each.
var bad = []struct {
	name string
	harm func(clone variant.Copy) error
	want string
}{
	{"that ends at once", func(c variant.Copy) error {
		return c.Write("apps/user-service/variant.go", "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc init() {\n\tif len(os.Args) < 2 {\n"+
			"\t\tfmt.Fprintln(os.Stderr, \"the licence has ended\")\n\t\tos.Exit(3)\n\t}\n}\n")
	}, "its last log line: the licence has ended"},
	{"that answers as another version", func(c variant.Copy) error {
		return c.Replace("apps/internal/health/health.go", `"version": h.service.Version,`, `"version": "not " + h.service.Version,`)
	}, "verify: endpoint"},
	{"that answers 5 % errors", func(c variant.Copy) error {
		return reads(c, "if rand.Intn(20) == 0 {\n\t\t\tw.WriteHeader(500)\n\t\t\treturn\n\t\t}")
	}, "answers 500, want 404"},
	{"that is slow", func(c variant.Copy) error {
		return reads(c, "time.Sleep(400 * time.Millisecond)")
	}, "took longer than 250ms"},
	{"whose schema can't be made", func(c variant.Copy) error {
		return c.Write("apps/user-service/migrations/99999_broken.sql", "-- +goose Up\nALTER TABLE no_such_table ADD COLUMN x text;\n")
	}, "no_such_table"},
	{"that finds no node", func(c variant.Copy) error {
		return errors.Join(c.Differ("user-service", "large"),
			c.Replace("infra/catalog/services.go", "192 * quantity.MiB", "1024 * 192 * quantity.MiB"))
	}, "finds no node"},
}

func TestReleaseOfABadVersionIsRefused(t *testing.T) {
	root := restored(t)
	former := versions(t)
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "that answers 5 % errors" {
				t.Skip("-short")
			}
			clone := variant.Copy(copyOfTheClone(t))
			impatient(t, string(clone))
			if err := c.harm(clone); err != nil {
				t.Fatal(err)
			}
			preview(t, string(clone))
			underLoad(t, func() map[string]string {
				err := release(t, string(clone), "up", "-watch", "35s")
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("it says\n%v\nwant %s", err, c.want)
				}
				return nil
			})
			if now := versions(t); !maps.Equal(now, former) {
				t.Errorf("the versions are %v, want %v", now, former)
			}
		})
	}
	if err := release(t, root, "up", "-unwatched"); err != nil {
		t.Errorf("the next release: %v", err)
	}
}

// What is good at first and bad later can only be found out by watching it.
func TestBadReleaseIsRolledBack(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	restored(t)
	former := versions(t)
	clone := variant.Copy(copyOfTheClone(t))
	if err := reads(clone, "if time.Since(began) > 25*time.Second && rand.Intn(20) == 0 {\n\t\t\tw.WriteHeader(500)\n\t\t\treturn\n\t\t}"); err != nil {
		t.Fatal(err)
	}
	preview(t, string(clone))
	run := loaded(t)
	defer func() {
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	err := release(t, string(clone), "up", "-watch", "2m")
	if err == nil || !strings.Contains(err.Error(), "were answered 5xx") {
		t.Errorf("it isn't rolled back: %v", err)
	}
	if now := versions(t); !maps.Equal(now, former) {
		t.Errorf("the versions are %v, want %v", now, former)
	}
	back := time.Now()
	time.Sleep(5 * time.Second)
	for _, lost := range run.Stop().Lost() {
		if lost.At.After(back) {
			t.Errorf("it is back, and still something is lost: %+v", lost)
		}
	}
}

// Whatever is killed, and whenever: traffic stays on what was verified, and the next run gets there.
func TestReleaseThatIsKilledIsTakenOver(t *testing.T) {
	restored(t)
	clone := string(other(t, "user-service"))
	former := versions(t)["user-service"]
	for _, step := range []string{"is released: from", "user-service: migrate", "user-service: roll out", "user-service: verify", "user-service: switch"} {
		t.Run(step, func(t *testing.T) {
			if testing.Short() && !strings.HasSuffix(step, "verify") {
				t.Skip("-short")
			}
			underLoad(t, func() map[string]string {
				killed := begin(t, clone, "up", "-watch", "35s")
				if err := killed.until(step); err != nil {
					t.Fatal(err)
				}
				killed.kill(t)
				if err := release(t, clone, "up", "-takeover", "-watch", "35s"); err != nil {
					t.Fatal(err)
				}
				next := versions(t)
				if next["user-service"] == former {
					t.Errorf("it is still %s", former)
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

// The cluster itself has its troubles while something is released.
func TestReleaseInTroubles(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	restored(t)
	former := versions(t)["user-service"]
	apiServer := func(t *testing.T) {
		components, err := status()
		if err != nil {
			t.Fatal(err)
		}
		pid := components["kube-apiserver"].pid
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, step string
		trouble    func(t *testing.T)
	}{
		{"the API server stands still before the rollout", "is released: from", apiServer},
		{"the API server stands still at the rollout", "user-service: migrate", apiServer},
		{"the API server stands still at the verification", "user-service: roll out", apiServer},
		{"the API server stands still at the switch", "user-service: verify", apiServer},
		{"the API server stands still while it is watched", "watching for", apiServer},
		{"a pod is killed at the switch", "user-service: verify", func(t *testing.T) {
			output(t, "kubectl", "delete", "pod", "--namespace=apps", "--selector=app.kubernetes.io/name=order-service", "--wait=false")
		}},
		{"the edge's pod is killed at the switch", "user-service: verify", func(t *testing.T) {
			output(t, "kubectl", "delete", "pod", "--namespace=edge", "--selector=app.kubernetes.io/name=edge", "--wait=false")
		}},
		{"the cache ends at the switch", "user-service: verify", func(t *testing.T) {
			output(t, "kubectl", "delete", "pod", "--namespace=data", "--selector=app.kubernetes.io/name=redis-cache", "--wait=false")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clone := string(other(t, "user-service"))
			underLoad(t, func() map[string]string {
				troubled := begin(t, clone, "up", "-watch", "35s")
				if err := troubled.until(c.step); err != nil {
					t.Fatal(err)
				}
				c.trouble(t)
				if err := troubled.end(); err != nil {
					t.Logf("it gives up: %v", err)
					if err := release(t, clone, "up", "-takeover", "-watch", "35s"); err != nil {
						t.Fatal(err)
					}
				}
				next := versions(t)
				if next["user-service"] == former {
					t.Errorf("it is still %s", former)
				}
				return next
			})
			if err := errors.Join(release(t, clone, "rollback"), release(t, clone, "retire")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A schema that has grown serves the version before: it goes on answering while the next one is there, and after a rollback.
func TestReleaseWithAMigrationServesTheVersionBefore(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	root := restored(t)
	clone := other(t, "user-service")
	if err := clone.Write("apps/user-service/migrations/00003_nickname.sql",
		"-- +goose Up\nALTER TABLE users ADD COLUMN nickname text NOT NULL DEFAULT '';\n"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := inUsers("ALTER TABLE users DROP COLUMN nickname; DELETE FROM goose_db_version WHERE version_id = 3", ""); err != nil {
			t.Error(err)
		}
	})
	underLoad(t, func() map[string]string {
		if err := release(t, string(clone), "up", "-watch", "35s"); err != nil {
			t.Fatal(err)
		}
		next := versions(t)
		if err := release(t, root, "rollback"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		return next
	})
}

func TestReleaseSaysWhatIsWrong(t *testing.T) {
	root := restored(t)
	if err := release(t, root, "retire"); err != nil {
		t.Fatal(err)
	}
	live := versions(t)["user-service"]
	for _, c := range []struct {
		name      string
		arguments []string
		want      string
	}{
		{"an unknown version", []string{"up", "-version", "ffffffffffff"}, `no release has version "ffffffffffff"`},
		{"a version that is live", []string{"up", "-version", live}, live + " is live already: nothing to release"},
		{"a release that never was", []string{"up", "-version", "#99999"}, "release 99999 is not in the history"},
		{"a rollback without a standby version", []string{"rollback"}, "service user-service: no standby version: version " + live},
		{"a stack that doesn't exist", []string{"-stack", "dev", "up"}, "there is no stack dev"},
		{"a promotion where images are built", []string{"promote"}, "stack local builds its own images"},
		{"no command", []string{"unroll"}, `there is no command "unroll"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := release(t, root, c.arguments...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, want %s", err, c.want)
			}
		})
	}
	t.Run("two at once", func(t *testing.T) {
		clone := string(other(t, "user-service"))
		first := begin(t, clone, "up", "-watch", "1m")
		if err := first.until("is released: from"); err != nil {
			t.Fatal(err)
		}
		if err := release(t, root, "rollback"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(process %d) holds the Lease of releases", first.command.Process.Pid)) {
			t.Errorf("a second one says %v", err)
		}
		if err := first.until("watching for"); err != nil { // before that, pulumi's own lock refuses
			t.Fatal(err)
		}
		if said, err := upFrom(root); err == nil || !strings.Contains(said, "holds the Lease of releases") {
			t.Errorf("pulumi up says %v\n%s", err, said)
		}
		if err := first.end(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a selector that was changed by hand", func(t *testing.T) {
		service := output(t, "kubectl", "get", "service", "user-service", "--namespace=apps", "--output=jsonpath={.spec.selector.colour}")
		hand := map[string]string{"blue": "green", "green": "blue"}[service]
		output(t, "kubectl", "patch", "service", "user-service", "--namespace=apps", `--patch={"spec":{"selector":{"colour":"`+hand+`"}}}`)
		const want = "service user-service: its live Service selects "
		if said, err := upFrom(root); err == nil || !strings.Contains(said, want+hand) {
			t.Errorf("pulumi up says %v\n%s", err, said)
		}
		if err := release(t, root, "up"); err == nil || !strings.Contains(err.Error(), "make repair") {
			t.Errorf("a release says %v", err)
		}
		if err := release(t, root, "repair"); err != nil {
			t.Fatal(err)
		}
		if now := output(t, "kubectl", "get", "service", "user-service", "--namespace=apps", "--output=jsonpath={.spec.selector.colour}"); now != service {
			t.Errorf("after the repair %s is selected, want %s", now, service)
		}
	})
}
