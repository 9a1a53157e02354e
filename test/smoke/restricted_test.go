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
    image: registry.invalid/none%s
`, namespace, test.pod, test.container)
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
