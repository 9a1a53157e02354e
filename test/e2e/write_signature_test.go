package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

// A stack that names a key releases only images that the key has signed.
func TestOnlySignedImagesAreReleased(t *testing.T) {
	cosign, err := exec.LookPath("cosign")
	if err != nil {
		t.Fatalf("%v: make e2e compiles it", err)
	}
	t.Setenv("COSIGN_PASSWORD", "a password of the test")
	keys, clone := t.TempDir(), kit.CopySources(t)
	if printed, err := kit.RunIn(keys, "cosign generate-key-pair"); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	private, err := os.ReadFile(filepath.Join(keys, "cosign.key"))
	if err != nil {
		t.Fatal(err)
	}
	previous := kit.LiveVersions(t)
	t.Cleanup(func() { kit.Restore(t) })
	kit.OwnConfig(t, clone)
	if printed, err := kit.RunIn(clone, "pulumi config set --path platform:signature.key --stack local <"+filepath.Join(keys, "cosign.pub")); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if err := variant.Copy(clone).Differ("order-service", "signed"); err != nil {
		t.Fatal(err)
	}

	printed, err := kit.PulumiUp(clone)
	if err == nil || !strings.Contains(printed, "COSIGN_PRIVATE_KEY is not set") {
		t.Errorf("without the private key: %v\n%s", err, printed)
	}
	if now := kit.LiveVersions(t); !maps.Equal(now, previous) {
		t.Fatalf("without a signature, %v is live, want %v", now, previous)
	}

	t.Setenv("COSIGN_PRIVATE_KEY", string(private))
	if printed, err := kit.PulumiUp(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	now := kit.LiveVersions(t)
	if now["order-service"] == previous["order-service"] || now["user-service"] != previous["user-service"] {
		t.Errorf("%v is live after the signed release, before it was %v", now, previous)
	}
	image := strings.TrimSpace(kit.Output(t, "kubectl", "get", "deployments", "--namespace=apps", "--selector=app.kubernetes.io/name=order-service",
		`--output=jsonpath={.items[?(@.metadata.annotations.platform\.example/version=="`+now["order-service"]+`")].spec.template.spec.containers[0].image}`))
	kit.Output(t, cosign, "verify", "--key", filepath.Join(keys, "cosign.pub"), "--insecure-ignore-tlog=true", image)

	for variable, value := range map[string]string{"WORKFLOW_REF": "shop/platform/.github/workflows/staging.yml@refs/heads/main",
		"SERVER_URL": "https://github.com", "REPOSITORY": "shop/platform", "EVENT_NAME": "push", "SHA": "0123456789", "RUN_ID": "1"} {
		t.Setenv("GITHUB_"+variable, value)
	}
	if err := variant.Copy(clone).Write("provenance.json", kit.Output(t, ".github/scripts/provenance")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"is attested", "is already attested"} {
		attested, err := kit.RunIn(clone, "make attest STACK=local PROVENANCE=provenance.json")
		for _, kind := range []string{"cyclonedx", "slsaprovenance1"} {
			if err != nil || !strings.Contains(attested, image+": "+kind+" "+want) {
				t.Fatalf("%v: want %s of %s %s\n%s", err, kind, image, want, attested)
			}
		}
		printed += attested
	}
	for _, kind := range []string{"cyclonedx", "slsaprovenance1"} {
		kit.Output(t, cosign, "verify-attestation", "--type", kind, "--key", filepath.Join(keys, "cosign.pub"), "--insecure-ignore-tlog=true", image)
	}
	if strings.Contains(printed, "BEGIN ENCRYPTED") {
		t.Error("the output shows the private key")
	}
}
