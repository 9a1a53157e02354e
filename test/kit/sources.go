package kit

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/variant"
)

// Root is the root of the repository, which is the working directory of the tests.
const Root = "."

// CopySources returns a folder with a copy of the repository's sources, linked to the configuration of the stack local.
func CopySources(t *testing.T) string {
	t.Helper()
	clone, err := variant.New(Root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return string(clone)
}

// OwnConfig replaces the link to the configuration with a copy, so that the platform's own configuration doesn't change.
func OwnConfig(t *testing.T, clone string) {
	t.Helper()
	Output(t, "cp", "--remove-destination", "--dereference", "Pulumi.local.yaml", clone)
}

// Set sets a key of the stack's configuration in a copy, which gets a configuration of its own.
func Set(t *testing.T, clone, key, value string) {
	t.Helper()
	OwnConfig(t, clone)
	if printed, err := RunIn(clone, "pulumi config set "+key+" "+value+" --stack local"); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
}

// Replace replaces all occurrences of a text in a file of a copy.
func Replace(t *testing.T, clone, file, old, replacement string) {
	t.Helper()
	if err := variant.Copy(clone).Replace(file, old, replacement); err != nil {
		t.Fatal(err)
	}
}

// PulumiUp updates the stack local from the sources in a folder, and returns the output of pulumi.
func PulumiUp(folder string) (string, error) { return RunIn(folder, Update) }

// Restore updates the stack local from the repository's sources. It marks the test as failed if the update fails.
func Restore(t *testing.T) {
	t.Helper()
	if printed, err := PulumiUp(Root); err != nil {
		t.Errorf("the platform isn't restored: %v\n%s", err, printed)
	}
}

// Update is the shell command that updates the stack local.
const Update = "pulumi up --stack local --yes --skip-preview --non-interactive"

// ShortenRollouts limits the rollouts of a copy to half a minute.
func ShortenRollouts(t *testing.T, clone string) {
	t.Helper()
	Set(t, clone, "platform:deadline", "30s")
}

// Unharmed returns a check that the API serves, and that the same ReplicaSets and StatefulSets run as before, each with a pod from
// before. Autoscalers may add and remove other pods at any time.
func Unharmed(t *testing.T) func() {
	t.Helper()
	api := Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	running := func() map[string][]string { // ready pods by owner
		ready := `{range .items[?(@.status.containerStatuses[0].ready==true)]}` +
			`{.metadata.namespace}/{.metadata.ownerReferences[0].name}{" "}{.metadata.name}{"\n"}{end}`
		pods := map[string][]string{}
		for line := range strings.Lines(Output(t, "kubectl", "get", "pods", "--all-namespaces", "--output=jsonpath="+ready)) {
			owner, pod, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !strings.HasPrefix(owner, "kube-system/") {
				pods[owner] = append(pods[owner], pod)
			}
		}
		return pods
	}
	Eventually(t, 2*time.Minute, "no pod is terminating", func() error {
		ending := Output(t, "kubectl", "get", "pods", "--all-namespaces",
			"--output=jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name} {end}")
		if ending != "" {
			return fmt.Errorf("still terminating: %s", ending)
		}
		return nil
	})
	before := running()
	return func() {
		t.Helper()
		if _, err := api.Expect(http.MethodGet, "/api/users/me", token, nil, http.StatusOK); err != nil {
			t.Errorf("the API doesn't serve: %v", err)
		}
		after := running()
		for owner, pods := range before {
			if !slices.ContainsFunc(pods, func(pod string) bool { return slices.Contains(after[owner], pod) }) {
				t.Errorf("all pods were replaced: %s had %v, and has %v", owner, pods, after[owner])
			}
		}
		for owner, pods := range after {
			if len(before[owner]) == 0 {
				t.Errorf("a new owner has pods: %s with %v", owner, pods)
			}
		}
	}
}
