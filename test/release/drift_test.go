package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// drifts are changes of order-service by hand, which take the name of its live Deployment, with the expected reports.
var drifts = []struct {
	name    string
	outage  bool // requests are lost until the drift is restored
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

// TestDriftOfReleasedServicesIsRepaired changes a released service by hand under load. The drift is reported with its field manager, restored by
// a repair or an update, and never part of the outputs.
func TestDriftOfReleasedServicesIsRepaired(t *testing.T) {
	restored(t)
	if err := errors.Join(release(t, kit.Root, "up", "-unwatched"), release(t, kit.Root, "retire"), drift(t)); err != nil {
		t.Fatal(err)
	}
	outputs := kit.Output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local")
	for i := range 2 * len(drifts) {
		c, by := drifts[i/2], []string{"a repair", "an update"}[i%2]
		t.Run(c.name+", restored by "+by, func(t *testing.T) {
			run := kit.StartLoad(t)
			defer func() {
				if err := run.Settle(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			kit.Output(t, append([]string{"kubectl", "--namespace=apps"}, c.command(kit.LiveDeployment(t, "order-service"))...)...)
			reported := drift(t)
			for _, want := range c.want {
				if reported == nil || !strings.Contains(reported.Error(), want) {
					t.Errorf("make drift reports %v, want %s", reported, want)
				}
			}
			if shown := preview(t, kit.Root); !strings.Contains(shown, c.want[0]) || !strings.Contains(shown, "`pulumi up` restores it") {
				t.Errorf("the preview prints\n%s\nwant %s", shown, c.want[0])
			}
			if shown := kit.Output(t, "make", "-s", "releases"); !strings.Contains(shown, c.want[0]) {
				t.Errorf("make releases prints\n%s\nwant %s", shown, c.want[0])
			}
			if i%2 == 0 {
				if err := release(t, kit.Root, "repair"); err != nil {
					t.Fatal(err)
				}
			} else if printed, err := kit.PulumiUp(kit.Root); err != nil {
				t.Fatalf("%v\n%s", err, printed)
			}
			kit.Eventually(t, time.Minute, "the drift is restored", func() error { return drift(t) })
			back := time.Now()
			time.Sleep(10 * time.Second)
			for _, lost := range run.Stop().Lost() {
				if !c.outage || lost.At.After(back.Add(2*time.Second)) {
					t.Errorf("lost: %+v", lost)
				}
			}
			if now := kit.Output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local"); now != outputs {
				t.Errorf("the outputs are\n%s\nwant\n%s", now, outputs)
			}
		})
	}
}

// drift returns the report of make drift as an error.
func drift(t *testing.T) error {
	t.Helper()
	printed, err := kit.Run("make", "-s", "drift")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, printed)
	}
	return nil
}

// Objects that belong to no release are compared with Pulumi's state.
func TestDriftOfOtherObjectsIsRepaired(t *testing.T) {
	restored(t)
	kit.Output(t, "kubectl", "--namespace=apps", "delete", "networkpolicy", "notification-service")
	if err := drift(t); err == nil || !strings.Contains(err.Error(), "NetworkPolicy notification-service is missing") {
		t.Errorf("make drift reports %v", err)
	}
	if err := errors.Join(release(t, kit.Root, "repair"), drift(t)); err != nil {
		t.Error(err)
	}
}

// --target names only resources that belong to no release.
func TestTargetedUpdateOfTheEdgeReleasesNothing(t *testing.T) {
	restored(t)
	clone := string(other(t, "order-service"))
	outputs := kit.Output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local")
	began := time.Now()
	printed, err := kit.RunIn(clone, kit.Update+" --target '**edge**'")
	if err != nil || !strings.Contains(printed, "gets no traffic: --target excludes its release") {
		t.Errorf("after %s: %v\n%s", time.Since(began), err, printed)
	}
	if now := kit.Output(t, "pulumi", "stack", "output", "services", "--json", "--stack", "local"); now != outputs {
		t.Errorf("the outputs are\n%s\nwant\n%s", now, outputs)
	}
	if err := errors.Join(release(t, kit.Root, "up", "-unwatched"), drift(t)); err != nil {
		t.Error(err)
	}
}

// The standby version is retired automatically at the end of its time.
func TestReleaseRetiresThePreviousVersion(t *testing.T) {
	restored(t)
	if err := release(t, kit.Root, "retire"); err != nil {
		t.Fatal(err)
	}
	clone := other(t, "user-service")
	kit.Set(t, string(clone), "platform:standby", "45s")
	previous, released := kit.LiveDeployment(t, "user-service"), ""
	kit.UnderLoad(t, func() map[string]string {
		if err := release(t, string(clone), "up", "-unwatched"); err != nil {
			t.Fatal(err)
		}
		released = kit.LiveVersions(t)["user-service"]
		kit.Eventually(t, 4*time.Minute, "the standby version is retired", func() error {
			replicas, err := kit.Run("kubectl", "get", "deployment", previous, "--namespace=apps", "--output=jsonpath={.spec.replicas}")
			marked, _ := kit.Run("kubectl", "get", "service", "user-service", "--namespace=apps", `--output=jsonpath={.metadata.annotations.platform\.example/standby}`)
			if err != nil || replicas != "0" || marked != "" {
				return fmt.Errorf("%s has %s replicas (%s), and the recorded standby version is %q", previous, replicas, fmt.Sprint(err), marked)
			}
			return nil
		})
		return nil
	})
	if least := kit.Output(t, "kubectl", "get", "horizontalpodautoscaler", kit.LiveDeployment(t, "user-service"), "--namespace=apps", "--output=jsonpath={.spec.minReplicas}"); least != "1" {
		t.Errorf("the minimum of the live colour's autoscaler is %s", least)
	}
	if err := release(t, kit.Root, "rollback"); err == nil || !strings.Contains(err.Error(), "service user-service: no standby version") {
		t.Errorf("a rollback returns %v", err)
	}
	if err := drift(t); err != nil {
		t.Error(err)
	}
	next := other(t, "user-service") // without an update in between, in the retired colour
	if err := release(t, string(next), "up", "-unwatched"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(release(t, kit.Root, "retire"), release(t, kit.Root, "up", "-version", released, "-unwatched")); err != nil {
		t.Error(err)
	}
	if now := kit.LiveVersions(t)["user-service"]; now != released {
		t.Errorf("user-service is %s, want the retired version %s, which the history has", now, released)
	}
}

// An update keeps the restart of a Deployment by hand: its pods don't restart again.
func TestReleaseKeepsARestartByHand(t *testing.T) {
	restored(t)
	if err := errors.Join(release(t, kit.Root, "up", "-unwatched"), release(t, kit.Root, "retire")); err != nil {
		t.Fatal(err)
	}
	deployment := "deployment/" + kit.LiveDeployment(t, "notification-service")
	observed := func() string {
		return kit.Output(t, "kubectl", "get", deployment, "--namespace=apps", "--output=jsonpath={.spec.progressDeadlineSeconds} "+
			`{.spec.template.metadata.annotations.kubectl\.kubernetes\.io/restartedAt} {.metadata.annotations.deployment\.kubernetes\.io/revision}`)
	}
	kit.Output(t, "kubectl", "rollout", "restart", deployment, "--namespace=apps")
	kit.Output(t, "kubectl", "rollout", "status", deployment, "--namespace=apps", "--timeout=2m")
	restarted := strings.Fields(observed())
	clone := kit.CopySources(t)
	kit.Set(t, clone, "platform:deadline", "121s")
	if printed, err := kit.PulumiUp(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	updated := strings.Fields(observed())
	if len(restarted) != 3 || len(updated) != 3 || updated[0] != "121" || !slices.Equal(updated[1:], restarted[1:]) {
		t.Errorf("deadline, restart and revision are %v after the update, and were %v", updated, restarted)
	}
	if err := drift(t); err != nil {
		t.Error(err)
	}
}
