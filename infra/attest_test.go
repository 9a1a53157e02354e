package main

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	images "github.com/google/go-containerregistry/pkg/v1/remote"
)

// greeterProject is a project whose stack staging runs the image of a program, which .build has too. It returns the image.
func greeterProject(t *testing.T, signature string) (root string, image name.Digest) {
	t.Helper()
	root = t.TempDir()
	put := func(file, text string) {
		t.Helper()
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put("Pulumi.yaml", "name: platform\nruntime: go\n")
	put("Pulumi.staging.yaml", "config:\n  platform:kubeContext: staging\n  platform:registry: registry.example.com\n"+
		"  platform:edge: {host: staging.example.com, issuer: letsencrypt}\n"+signature)
	put("apps/go.mod", "module example.com/apps\n\ngo 1.26\n")
	put("apps/greeter/main.go", "package main\n\nfunc main() { println(\"hello\") }\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", "../.build/greeter/app", "./greeter")
	build.Dir, build.Env = filepath.Join(root, "apps"), append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if printed, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	binary, err := os.ReadFile(filepath.Join(root, ".build/greeter/app"))
	if err != nil {
		t.Fatal(err)
	}
	built, err := crane.Image(map[string][]byte{"app": binary})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	digest, err := built.Digest()
	if err != nil {
		t.Fatal(err)
	}
	image, err = name.NewDigest(strings.TrimPrefix(server.URL, "http://") + "/greeter@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := images.Write(image, built); err != nil {
		t.Fatal(err)
	}
	put("bin/pulumi", "#!/bin/bash\n[ \"$*\" = 'stack output services --json --stack staging' ] && echo '{\"greeter\": {\"digest\": \""+image.String()+"\"}}'\n")
	put("bin/cosign", "#!/bin/bash\necho \"$1 $3\" >>"+root+"/cosign.log; [ \"$1\" = attest ]\n") // nothing is attached yet
	t.Setenv("PATH", filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	t.Setenv("COSIGN_PRIVATE_KEY", "private")
	return root, image
}

func TestSBOMsAreWrittenAndAttached(t *testing.T) {
	const signer = "  platform:signature: {identity: 'https://example.com/workflow', issuer: 'https://issuer.example.com'}\n"
	for title, test := range map[string]struct {
		signature, provenance string
		attach, changed       bool
		attached              int    // referrers without a signature
		signed                string // by cosign
		says                  string
	}{
		"only written":          {signature: signer},
		"without a signer":      {attach: true, provenance: "p.json", attached: 1, says: "without a signature, and no provenance"},
		"by the run that built": {signature: signer, attach: true, provenance: "p.json", signed: "attest spdxjson\nattest slsaprovenance1\n"},
		"by another run": {signature: signer, attach: true, provenance: "p.json", changed: true, signed: "attest spdxjson\n",
			says: "no provenance: this run hasn't built the live version"},
		"outside a workflow": {signature: signer, attach: true, signed: "attest spdxjson\n", says: "no provenance"},
	} {
		t.Run(title, func(t *testing.T) {
			root, image := greeterProject(t, test.signature)
			if test.changed {
				if err := os.WriteFile(filepath.Join(root, ".build/greeter/app"), []byte("another program"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			if err := writeSBOMs(root, "staging", test.attach, test.provenance, &out); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), test.says) || test.says == "" && strings.Contains(out.String(), "no provenance") {
				t.Errorf("it prints %q, want %q", out.String(), test.says)
			}
			written, err := os.ReadFile(filepath.Join(root, ".build/sbom/staging/greeter.spdx.json"))
			if err != nil || !strings.Contains(string(written), "pkg:golang/stdlib@") {
				t.Errorf("the SBOM is %.200s, %v", written, err)
			}
			referrers, err := images.Referrers(image)
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := referrers.IndexManifest()
			if err != nil || len(manifest.Manifests) != test.attached {
				t.Errorf("%d documents are attached without a signature, want %d", len(manifest.Manifests), test.attached)
			}
			log, _ := os.ReadFile(filepath.Join(root, "cosign.log")) // absent if cosign didn't run
			signed := ""
			for line := range strings.Lines(string(log)) {
				if strings.HasPrefix(line, "attest ") {
					signed += line
				}
			}
			if signed != test.signed {
				t.Errorf("cosign has signed %q, want %q", signed, test.signed)
			}
		})
	}
}
