package project

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// folder creates a folder with a project and the file of the stack dev.
func folder(t *testing.T, settings, content string) string {
	t.Helper()
	root := t.TempDir()
	for file, text := range map[string]string{"Pulumi.yaml": "name: platform\nruntime: go\n" + settings, "Pulumi.dev.yaml": content} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The values are those that a plain YAML parser reads differently. The wanted values are those of pulumi v3.250.0.
func TestReadLikePulumi(t *testing.T) {
	root := folder(t, "config:\n  platform:deadline: {default: 90s}\n  platform:standby: {default: 1h}\n", `config:
  platform:kubeContext: 0123
  platform:replicas: {min: 1, max: 010}
  platform:build: yes
  platform:demo: true
  platform:standby: 5m
  platform:edge: {httpsPort: 30443, annotations: {a: "010"}}
  platform:jwtKeys: {secure: v1:abc}
  platform:postgres: {address: "db:1", nested: {secure: v1:abc}}
  kubernetes:context: other
`)
	got, err := Read(t.Context(), root, "dev", "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kubeContext": "83", "replicas": `{"max":8,"min":1}`, "build": "yes", "demo": "true", "standby": "5m", "deadline": "90s",
		"edge": `{"annotations":{"a":"010"},"httpsPort":30443}`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestReadErrors(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"environments that only pulumi reads", "environment: [shared]\nconfig: {}\n", "it imports environments, which only pulumi reads"},
		{"no YAML", "config: [", "stack dev: "},
		{"a bundle that is too large for an environment variable", "config:\n  platform:postgres: {certificateAuthority: \"" + strings.Repeat("x", 219_000) + "\"}\n",
			"stack dev: platform:postgres: 219 KB: Pulumi can't pass more than 100 KB to the program"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(t.Context(), folder(t, "", test.content), "dev", "")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	if _, err := Read(t.Context(), folder(t, "", "{}"), "none", ""); err == nil || !strings.Contains(err.Error(), "stack none: ") {
		t.Errorf("got %v", err)
	}
}
