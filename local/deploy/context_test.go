package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"platform.example/local/file"
)

func TestCheckTarget(t *testing.T) {
	folder := t.TempDir()
	one, two := filepath.Join(folder, "one"), filepath.Join(folder, "two")
	broken := filepath.Join(folder, "broken")
	if err := errors.Join(
		file.Write(one, []byte("contexts:\n- {name: kind, context: {cluster: kind}}\n"), 0o600),
		file.Write(two, []byte("contexts:\n- {name: production, context: {cluster: production}}\n"), 0o600),
		file.Write(broken, []byte("contexts: {"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		files      []string
		target     Target
		configured bool
		want       string
	}{
		{"known, with a registry", []string{one}, Target{Context: "kind", Registry: "r.example"}, false, ""},
		{"in the second file", []string{one, two}, Target{Context: "production", Registry: "r.example"}, false, ""},
		{"a file is missing", []string{one, filepath.Join(folder, "absent")}, Target{Context: "kind", Registry: "r.example"}, false, ""},
		{"the registry is already configured", []string{one}, Target{Context: "kind"}, true, ""},
		{"no registry", []string{one}, Target{Context: "kind"}, false, "REGISTRY is missing"},
		{"unknown", []string{one, two}, Target{Context: "stage", Registry: "r.example"}, false, "CONTEXT=stage: your kubeconfig has no such context: want one of kind, production"},
		{"no contexts", []string{filepath.Join(folder, "absent")}, Target{Context: "kind"}, false, "no contexts in the kubeconfig"},
		{"not YAML", []string{broken}, Target{Context: "kind"}, false, "read the kubeconfig " + broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", strings.Join(c.files, string(filepath.ListSeparator)))
			d, _ := deployment(t)
			if c.configured {
				if err := file.Write(d.file(configurationFile), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := d.CheckTarget(c.target)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := os.Lstat(filepath.Join(d.layout.Repo, configurationFile)); err == nil {
				t.Error("CheckTarget changes the clone's configuration")
			}
		})
	}
}
