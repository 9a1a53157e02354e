package smoke

import (
	"fmt"
	"strings"
	"testing"

	"platform.example/test/kit"
)

func TestOnlyRestrictedPodsAreAdmitted(t *testing.T) {
	const restricted = `
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      runAsNonRoot: true
      runAsUser: 65532
      seccompProfile: {type: RuntimeDefault}`
	tests := []struct {
		name, container, pod string
		admitted             bool
	}{
		{name: "restricted", container: restricted, admitted: true}, // ensures that the others aren't refused for another reason
		{name: "privileged", container: "\n    securityContext: {privileged: true}"},
		{name: "root", container: strings.NewReplacer("runAsNonRoot: true", "runAsNonRoot: false", "65532", "0").Replace(restricted)},
		{name: "no settings", container: ""},
		{name: "the machine's network", container: restricted, pod: "\n  hostNetwork: true"},
		{name: "the machine's files", container: restricted, pod: "\n  volumes: [{name: machine, hostPath: {path: /}}]"},
	}
	image := kit.ShellImage(t)
	for _, namespace := range []string{"apps", "data", "edge"} {
		for _, test := range tests {
			t.Run(namespace+" "+test.name, func(t *testing.T) {
				manifest := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: e2e-admission, namespace: %s}
spec:%s
  containers:
  - name: only
    image: %s%s
`, namespace, test.pod, image, test.container)
				_, err := kit.Feed(manifest, "kubectl", "apply", "--dry-run=server", "--filename=-")
				switch {
				case test.admitted && err != nil:
					t.Errorf("the pod is refused: %v", err)
				case !test.admitted && err == nil:
					t.Error("the pod is admitted")
				case test.admitted, strings.Contains(err.Error(), "violates PodSecurity"):
				default:
					t.Errorf("the pod is refused, but not by Pod Security: %v", err)
				}
			})
		}
	}
}

// The namespace of the services admits only images of their registry, by digest.
func TestForeignImagesAreRefused(t *testing.T) {
	own := kit.ShellImage(t)
	repository, digest, _ := strings.Cut(own, "@")
	for _, test := range []struct {
		image    string
		admitted bool
	}{
		{own, true},
		{"registry.invalid/none@" + digest, false},
		{"docker.io/library/postgres:15-bookworm", false},
		{repository + ":test", false},
		{strings.Replace(own, "/", ".registry.invalid/", 1), false},
	} {
		for _, field := range []string{"containers", "initContainers"} {
			pod := map[string]string{"containers": own, "initContainers": own}
			pod[field] = test.image
			manifest := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: e2e-admission, namespace: apps}
spec:
  initContainers:
  - name: first
    image: %s
    %s
  containers:
  - name: only
    image: %s
    %s
`, pod["initContainers"], harmless, pod["containers"], harmless)
			_, err := kit.Feed(manifest, "kubectl", "apply", "--dry-run=server", "--filename=-")
			if test.admitted && err != nil || !test.admitted && (err == nil || !strings.Contains(err.Error(), "this namespace admits only images of")) {
				t.Errorf("%s with %s: %v, admitted: want %v", field, test.image, err, test.admitted)
			}
		}
	}
}

// harmless is settings that Pod Security admits.
const harmless = "securityContext: {runAsNonRoot: true, runAsUser: 65532, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"
