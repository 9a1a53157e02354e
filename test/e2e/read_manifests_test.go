package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"platform.example/test/kit"
)

// The API server validates every manifest of all three stacks, by schema and by admission.
func TestAPIServerAcceptsTheManifestsOfEveryStack(t *testing.T) {
	for _, stack := range []string{"local", "staging", "production"} {
		t.Run(stack, func(t *testing.T) {
			kit.Output(t, "make", "-s", "render", "STACK="+stack)
			var all strings.Builder
			files, err := filepath.Glob(filepath.Join(".build", "manifests", stack, "*", "*.yaml"))
			if err != nil || len(files) < 80 {
				t.Fatalf("found %d rendered files (%v)", len(files), err)
			}
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(content), "apiVersion: cert-manager.io/") {
					continue // needs cert-manager, which the local node doesn't have
				}
				// A StatefulSet of another size counts as a new one, because its volume can't be changed.
				name, _ := strings.CutPrefix(strings.TrimSuffix(filepath.Base(file), ".yaml"), "statefulset-")
				all.WriteString("---\n" + strings.Replace(string(content), "\n  name: "+name+"\n", "\n  name: e2e-"+name+"\n", 1))
			}
			printed, err := kit.Feed(all.String(), "kubectl", "apply", "--server-side", "--dry-run=server", "--force-conflicts", "--filename=-")
			if err != nil {
				t.Errorf("%v", err)
			}
			accepted := slices.DeleteFunc(strings.Split(printed, "\n"), func(line string) bool { return !strings.Contains(line, "serverside-applied") })
			if len(accepted) < len(files)-1 {
				t.Errorf("%d of %d objects are accepted", len(accepted), len(files))
			}
		})
	}
}
