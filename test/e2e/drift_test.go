package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// drifts is what somebody changes by hand of order-service, of which this is the live Deployment, and what is said of it.
var drifts = []struct {
	name    string
	outage  bool // requests are lost until it is restored
	command func(deployment string) []string
	want    []string
}{
	{"a key in the selector of the live Service", true, func(string) []string {
		return []string{"patch", "service", "order-service", `--patch={"spec":{"selector":{"tier":"x"}}}`}
	}, []string{"Service order-service: spec.selector: app.kubernetes.io/name=order-service,colour=", ",tier=x, want ", "(changed by kubectl-patch at "}},
	{"no replicas", true, func(deployment string) []string {
		return []string{"scale", "deployment", deployment, "--replicas=0"}
	}, []string{"spec.replicas: 0, want at least "}},
	{"another image", false, func(deployment string) []string {
		return []string{"set", "image", "deployment/" + deployment, "order-service=localhost:5000/order-service@sha256:" + strings.Repeat("0", 64)}
	}, []string{"spec.template.spec.containers[order-service].image: localhost:5000/order-service@sha256:0000", "(changed by kubectl-set at "}},
	{"another version", false, func(deployment string) []string {
		return []string{"annotate", "--overwrite", "deployment", deployment, "platform.example/version=ffffffffffff"}
	}, []string{"metadata.annotations.platform.example/version: ffffffffffff, want ", "(changed by kubectl-annotate at "}},
	{"a pause", false, func(deployment string) []string {
		return []string{"rollout", "pause", "deployment/" + deployment}
	}, []string{"spec.paused: true, want false", "(changed by kubectl-rollout at "}},
	{"another minimum", false, func(deployment string) []string {
		return []string{"patch", "horizontalpodautoscaler", deployment, `--patch={"spec":{"minReplicas":2}}`}
	}, []string{"spec.minReplicas: 2, want 1", "(changed by kubectl-patch at "}},
}

// TestReleaseThatDrifts changes by hand what a release has left, under load. It is said with who did it, restored by a repair and
// by an update, and never stated in the outputs.
func TestReleaseThatDrifts(t *testing.T) {
	root := restored(t)
	if err := errors.Join(release(t, root, "up", "-unwatched"), release(t, root, "retire"), drift(t)); err != nil {
		t.Fatal(err)
	}
	stated := output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local")
	for i := range 2 * len(drifts) {
		c, by := drifts[i/2], []string{"a repair", "an update"}[i%2]
		t.Run(c.name+", restored by "+by, func(t *testing.T) {
			run := loaded(t)
			defer func() {
				if err := run.Settle(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			output(t, append([]string{"kubectl", "--namespace=apps"}, c.command(live(t, "order-service"))...)...)
			said := drift(t)
			for _, want := range c.want {
				if said == nil || !strings.Contains(said.Error(), want) {
					t.Errorf("make drift says %v, want %s", said, want)
				}
			}
			if shown := preview(t, root); !strings.Contains(shown, c.want[0]) || !strings.Contains(shown, "`pulumi up` restores it") {
				t.Errorf("a preview says\n%s\nwant %s", shown, c.want[0])
			}
			if shown := output(t, "make", "-s", "releases"); !strings.Contains(shown, c.want[0]) {
				t.Errorf("make releases says\n%s\nwant %s", shown, c.want[0])
			}
			if i%2 == 0 {
				if err := release(t, root, "repair"); err != nil {
					t.Fatal(err)
				}
			} else if said, err := upFrom(root); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			eventually(t, time.Minute, "it is restored", func() error { return drift(t) })
			back := time.Now()
			time.Sleep(10 * time.Second)
			for _, lost := range run.Stop().Lost() {
				if !c.outage || lost.At.After(back.Add(2*time.Second)) {
					t.Errorf("lost: %+v", lost)
				}
			}
			if now := output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local"); now != stated {
				t.Errorf("the outputs state\n%s\nwant\n%s", now, stated)
			}
		})
	}
}

// drift is what make drift reports, as an error.
func drift(t *testing.T) error {
	t.Helper()
	said, err := attempt("make", "-s", "drift")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}

// An object that no release is made of is compared with Pulumi's state.
func TestReleaseDriftOfOtherObjects(t *testing.T) {
	root := restored(t)
	output(t, "kubectl", "--namespace=apps", "delete", "networkpolicy", "notification-service")
	if err := drift(t); err == nil || !strings.Contains(err.Error(), "NetworkPolicy notification-service is missing") {
		t.Errorf("make drift says %v", err)
	}
	if err := errors.Join(release(t, root, "repair"), drift(t)); err != nil {
		t.Error(err)
	}
}

// --target names other resources than those of a release.
func TestReleaseIsLeftOutByAnUpdateOfTheEdgeAlone(t *testing.T) {
	root := restored(t)
	clone := string(other(t, "order-service"))
	stated := output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local")
	began := time.Now()
	said, err := attempt("bash", "-c", fmt.Sprintf("cd '%s' && pulumi up --stack local --yes --skip-preview --non-interactive --target '**edge**' 2>&1", clone))
	if err != nil || !strings.Contains(said, "gets no traffic: --target excludes its release") {
		t.Errorf("after %s: %v\n%s", time.Since(began), err, said)
	}
	if now := output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local"); now != stated {
		t.Errorf("the outputs state\n%s\nwant\n%s", now, stated)
	}
	if err := errors.Join(release(t, root, "up", "-unwatched"), drift(t)); err != nil {
		t.Error(err)
	}
}

// What stands by ends by itself when its time is over.
func TestReleaseRetiresTheFormerVersion(t *testing.T) {
	root := restored(t)
	if err := release(t, root, "retire"); err != nil {
		t.Fatal(err)
	}
	clone := other(t, "user-service")
	change(t, string(clone), "infra/stack/settings.go", `local: "30m", staging: "1h"`, `local: "45s", staging: "1h"`)
	former := live(t, "user-service")
	underLoad(t, func() map[string]string {
		if err := release(t, string(clone), "up", "-unwatched"); err != nil {
			t.Fatal(err)
		}
		eventually(t, 4*time.Minute, "it is retired", func() error {
			replicas, err := attempt("kubectl", "get", "deployment", former, "--namespace=apps", "--output=jsonpath={.spec.replicas}")
			marked, _ := attempt("kubectl", "get", "service", "user-service", "--namespace=apps", `--output=jsonpath={.metadata.annotations.platform\.example/standby}`)
			if err != nil || replicas != "0" || marked != "" {
				return fmt.Errorf("%s has %s replicas (%s), and %q stands by", former, replicas, fmt.Sprint(err), marked)
			}
			return nil
		})
		return nil
	})
	if least := output(t, "kubectl", "get", "horizontalpodautoscaler", live(t, "user-service"), "--namespace=apps", "--output=jsonpath={.spec.minReplicas}"); least != "1" {
		t.Errorf("the live colour may not shrink below %s", least)
	}
	if err := release(t, root, "rollback"); err == nil || !strings.Contains(err.Error(), "service user-service: no standby version") {
		t.Errorf("a rollback says %v", err)
	}
	if err := drift(t); err != nil {
		t.Error(err)
	}
	next := other(t, "user-service") // without an update in between, in the place of what was retired
	if err := release(t, string(next), "up", "-unwatched"); err != nil {
		t.Error(err)
	}
}
