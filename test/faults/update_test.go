package faults

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"platform.example/test/kit"
)

func TestFailedUpdateReportsTheCauseAndHarmsNothing(t *testing.T) {
	heal := func() {
		if _, err := kit.Run("kubectl", "delete", "resourcequota", "e2e-small", "--namespace=apps", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
		if printed, err := kit.PulumiUp(kit.Root); err != nil {
			t.Errorf("the next update doesn't recover: %v\n%s", err, printed)
		}
	}
	tests := []struct {
		name string
		harm func(clone string)
		want []string
	}{
		{"a binary that exits at once", func(clone string) {
			source := "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc init() {\n\tfmt.Fprintln(os.Stderr, \"the licence has ended\")\n\tos.Exit(3)\n}\n"
			if err := os.WriteFile(filepath.Join(clone, "apps", "api-gateway", "broken.go"), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{
			`Deployment apps/api-gateway-(blue|green) isn't ready: pod api-gateway-(blue|green)-\S+ ended \(exit code 3\), its last log line: the licence has ended; the previous version keeps running`,
		}},
		{"a missing image", func(clone string) {
			kit.Replace(t, clone, "infra/image/upstream.json", "traefik:v3.6.2", "traefik:v0.0.0")
		}, []string{
			`Deployment edge/edge isn't ready: pod edge-\S+ can't pull the image docker.io/library/traefik:v0.0.0: .*; the previous version keeps running`,
		}},
		{"a small quota", func(clone string) {
			quota := "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: e2e-small, namespace: apps}\nspec: {hard: {pods: \"1\"}}\n"
			if _, err := kit.Feed(quota, "kubectl", "apply", "--filename=-"); err != nil {
				t.Fatal(err)
			}
			kit.Replace(t, clone, "infra/catalog/services.go", "128 * quantity.MiB", "129 * quantity.MiB")
		}, []string{
			`Deployment apps/\S+-(blue|green) isn't ready: its pods are refused: .*exceeded quota: e2e-small.*; the previous version keeps running`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(heal)
			check := kit.Unharmed(t)
			clone := kit.CopySources(t)
			kit.ShortenRollouts(t, clone)
			test.harm(clone)
			printed, err := kit.PulumiUp(clone)
			if err == nil {
				t.Fatalf("the update succeeds:\n%s", printed)
			}
			for _, want := range test.want {
				if !regexp.MustCompile(want).MatchString(printed) {
					t.Errorf("the output doesn't contain %s, but\n%s", want, strings.Join(regexp.MustCompile(`(?m)^.*isn't ready.*$`).FindAllString(printed, -1), "\n"))
				}
			}
			check()
		})
	}
}

func TestConfigurationErrorsAreReportedBeforeAnyChange(t *testing.T) {
	check := kit.Unharmed(t)
	clone := kit.CopySources(t)
	tests := []struct{ name, command, want string }{
		{"an unknown stack", "pulumi preview --stack dev", "no stack named 'dev'"},
		{"an unknown key", "pulumi config set platform:deadlines 3m --stack local && pulumi preview --stack local",
			"stack local: platform:deadlines: unknown key: the nearest known one is platform:deadline"},
		{"a missing secret", "pulumi config rm platform:jwtKeys --stack local && pulumi preview --stack local",
			"stack local: platform:jwtKeys: missing secret: run `make secrets STACK=local`"},
		{"a secret in plain text", "pulumi config set platform:redisPassword hunter2hunter2 --plaintext --stack local && pulumi preview --stack local",
			"stack local: platform:redisPassword: stored in plain text"},
		{"an unknown cluster", "pulumi config set platform:kubeContext elsewhere --stack local && pulumi preview --stack local",
			`stack local: kubeconfig: context "elsewhere" does not exist`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			kit.OwnConfig(t, clone)
			printed, err := kit.RunIn(clone, test.command)
			if err == nil || !strings.Contains(printed, test.want) {
				t.Errorf("%v: the output is\n%s\nwant %s", err, printed, test.want)
			}
			if strings.Contains(printed, "hunter2") {
				t.Error("the output contains the secret")
			}
		})
	}
	check()
}
