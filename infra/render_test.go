package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRenderedManifests(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "production")
	writeFile(t, filepath.Join(folder, "apps", "left-over.yaml"), "kind: Old\n")
	if err := write(rendered(t, "production", ""), folder); err != nil {
		t.Fatal(err)
	}
	for path, wants := range map[string][]string{
		"apps/deployment-user-service-blue.yaml":   {"kind: Deployment\n", "maxUnavailable: 0\n", "/user-service@sha256:0000"},
		"cluster/priorityclass-platform-data.yaml": {"value: 1000000\n"},
		"data/secret-postgres-superuser.yaml":      {"password: (secret)\n"},
		"edge/certificate-edge-certificate.yaml":   {"api.example.com", "letsencrypt"},
		"data/cluster-postgres-1.yaml":             {"instances: 3\n", "size: 102400Mi\n", "destinationPath: s3://example-backups/platform\n"},
	} {
		content, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil {
			t.Error(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(content), want) {
				t.Errorf("%s has no %q:\n%s", path, want, content)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "apps", "left-over.yaml")); err == nil {
		t.Error("what was there before is left")
	}
}

func TestRenderErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Pulumi.staging.yaml")
	for _, test := range []struct{ name, stack, content, want string }{
		{"no configuration", "staging", "", "stack staging: stat "},
		{"no YAML", "staging", "config: [", "stack staging: "},
		{"a wrong value", "staging", "config: {platform:registry: x.example/y, platform:replicas: {min: 0}}\n", `platform:replicas.min: "0"`},
		{"an unknown stack", "dev", "config: {}\n", `stack dev: platform:environment: "": want one of local, staging, production`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_ = os.Remove(file)
			if test.content != "" {
				writeFile(t, file, test.content)
			}
			if _, err := render("..", test.stack, file); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
