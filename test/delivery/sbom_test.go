package delivery

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sbomTools are replacements of the programs that the script sbom runs, by name. They read their answers from the folder $ANSWERS.
var sbomTools = map[string]string{
	"pulumi": `case "$*" in
		'stack output services --json --stack staging') cat "$ANSWERS/services.json" ;;
		'config --json --stack staging') cat "$ANSWERS/config.json" ;;
		*) exit 1 ;;
		esac`,
	"crane": `case "$1 $2" in
		'manifest registry.example.com/shop/list@sha256:11') echo '{"manifests": [
			{"digest": "sha256:12", "platform": {"os": "linux", "architecture": "amd64"}},
			{"digest": "sha256:13", "platform": {"os": "linux", "architecture": "arm64"}},
			{"digest": "sha256:14", "platform": {"os": "unknown", "architecture": "unknown"}}]}' ;;
		manifest*) echo '{"layers": []}' ;;
		export*) tar --create --directory "$ANSWERS/images/${2##*:}" app ;;
		esac`,
	"cyclonedx-gomod": `[ -x "${!#}" ] && jq --raw-input '{program: .}' "${!#}" >"${@: -2:1}"`,
	"cosign": `printf '%s ' "$@" >>"$ANSWERS/cosign.log"; echo >>"$ANSWERS/cosign.log"
		[ "$1" = attest ] || type=$3
		[ "$1" != attest ] || type=$4
		attested=$ANSWERS/attested-$type-$(basename "${!#}")
		if [ "$1" = attest ]; then [ "$COSIGN_PRIVATE_KEY" != another ] || exit 0; touch "$attested"; else [ -e "$attested" ]; fi`,
}

// sbomRun is a folder with a checkout of the repository and the answers of the tools.
type sbomRun struct {
	folder      string
	environment []string
}

func newSBOMRun(t *testing.T, services, config string) sbomRun {
	t.Helper()
	folder := t.TempDir()
	run := sbomRun{folder, []string{"ANSWERS=" + folder, "COSIGN_PRIVATE_KEY=private", "PATH=" + filepath.Join(folder, "bin")}}
	if err := os.Mkdir(filepath.Join(folder, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"bash", "jq", "tar", "basename", "cat", "chmod", "cmp", "mkdir", "mktemp", "rm", "tail", "touch"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(folder, "bin", tool)); err != nil {
			t.Fatal(err)
		}
	}
	for tool, text := range sbomTools {
		run.put(t, "bin/"+tool, "#!/bin/bash\n"+text+"\n")
	}
	run.put(t, "services.json", services)
	run.put(t, "config.json", config)
	run.put(t, "provenance.json", "{}")
	return run
}

func (r sbomRun) put(t *testing.T, file, text string) {
	t.Helper()
	path := filepath.Join(r.folder, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // programs
		t.Fatal(err)
	}
}

// run runs the script, and returns what it prints and the commands of cosign that attest.
func (r sbomRun) run(t *testing.T, args ...string) (printed string, attested []string, err error) {
	t.Helper()
	printed, err = script(t, r.folder, r.environment, "sbom", append([]string{"staging"}, args...)...)
	log, _ := os.ReadFile(filepath.Join(r.folder, "cosign.log")) // absent if cosign has not run
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "attest ") {
			attested = append(attested, strings.TrimSpace(line))
		}
	}
	return printed, attested, err
}

const (
	oneService  = `{"shop": {"version": "0123456789ab", "digest": "registry.example.com/shop/shop@sha256:10"}}`
	twoServices = `{"list": {"version": "ab0123456789", "digest": "registry.example.com/shop/list@sha256:11"},
		"shop": {"version": "0123456789ab", "digest": "registry.example.com/shop/shop@sha256:10"}}`
	keySigner = `{"platform:signature": {"value": "{}", "objectValue": {"key": "public"}, "secret": false}, "platform:jwtKeys": {"secret": true}}`
	runSigner = `{"platform:signature": {"value": "{}", "objectValue": {"identity": "https://example.com/workflow", "issuer": "https://issuer.example.com"}}}`
)

// Each live image has an SBOM of its program. A manifest list has one of the program of its first architecture.
func TestSBOMsOfTheLiveImages(t *testing.T) {
	run := newSBOMRun(t, twoServices, keySigner)
	run.put(t, "images/10/app", "the shop\n")
	run.put(t, "images/12/app", "the list on amd64\n")
	run.put(t, "images/13/app", "the list on arm64\n")
	run.put(t, ".build/sbom/staging/former.cdx.json", "{}")
	printed, attested, err := run.run(t)
	if err != nil || len(attested) != 0 {
		t.Fatalf("%v, attested %q: %s", err, attested, printed)
	}
	files, err := filepath.Glob(filepath.Join(run.folder, ".build/sbom/staging/*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the files are %q, %v", files, err)
	}
	for service, want := range map[string]string{"shop": "the shop", "list": "the list on amd64"} {
		var found struct{ Program string }
		content, err := os.ReadFile(filepath.Join(run.folder, ".build/sbom/staging", service+".cdx.json"))
		if err := errors.Join(err, json.Unmarshal(content, &found)); err != nil || found.Program != want {
			t.Errorf("the SBOM of %s is of %q, want %q (%v)", service, found.Program, want, err)
		}
	}
}

// The SBOM and the provenance are attested with the signer of the stack, once. Only an image with the programs of this run has a provenance.
func TestSBOMsAndProvenanceAreAttested(t *testing.T) {
	const (
		list = "registry.example.com/shop/list@sha256:11"
		shop = "registry.example.com/shop/shop@sha256:10"
		sbom = "attest --yes --type cyclonedx --predicate .build/sbom/staging/"
		slsa = "attest --yes --type slsaprovenance1 --predicate provenance.json "
		key  = "--key env://COSIGN_PRIVATE_KEY --use-signing-config=false --tlog-upload=false "
	)
	for name, test := range map[string]struct {
		config, key string
		other       string // the program of this run that differs from the image
		args        []string
		want        []string
		says        string
	}{
		"with a key": {config: keySigner, key: "private", args: []string{"provenance.json"},
			want: []string{sbom + "list.cdx.json " + key + list, slsa + key + list, sbom + "shop.cdx.json " + key + shop, slsa + key + shop}},
		"with the identity of the run": {config: runSigner, args: []string{"provenance.json"},
			want: []string{sbom + "list.cdx.json " + list, slsa + list, sbom + "shop.cdx.json " + shop, slsa + shop}},
		"one architecture is of another run": {config: runSigner, other: ".build/list-arm64/app", args: []string{"provenance.json"},
			want: []string{sbom + "list.cdx.json " + list, sbom + "shop.cdx.json " + shop, slsa + shop}, says: list + ": no provenance"},
		"without a provenance": {config: runSigner, args: []string{""},
			want: []string{sbom + "list.cdx.json " + list, sbom + "shop.cdx.json " + shop}},
		"without a signer": {config: `{}`, args: []string{"provenance.json"}, says: "stack staging has no signer"},
	} {
		t.Run(name, func(t *testing.T) {
			run := newSBOMRun(t, twoServices, test.config)
			run.environment = append(run.environment, "COSIGN_PRIVATE_KEY="+test.key)
			for image, built := range map[string]string{"10": "shop", "12": "list", "13": "list-arm64"} {
				run.put(t, "images/"+image+"/app", built)
				run.put(t, ".build/"+built+"/app", built)
			}
			if test.other != "" {
				run.put(t, test.other, "another program")
			}
			for range 2 { // the second time, nothing is missing
				printed, attested, err := run.run(t, append([]string{"attest"}, test.args...)...)
				if err != nil || !slices.Equal(attested, test.want) || strings.Count(printed, test.says) == 0 {
					t.Fatalf("%v, attested\n%s\nwant\n%s\nand %q in %s", err, strings.Join(attested, "\n"), strings.Join(test.want, "\n"), test.says, printed)
				}
				if strings.Contains(printed, "private") {
					t.Errorf("the output shows the private key: %s", printed)
				}
			}
			if log, err := os.ReadFile(filepath.Join(run.folder, "cosign.log")); test.want == nil && err == nil {
				t.Errorf("without a signer, cosign has run: %s", log)
			}
		})
	}
}

func TestSBOMsThatCantBeAttested(t *testing.T) {
	for name, test := range map[string]struct {
		change func(run *sbomRun) error
		config string
		want   string
	}{
		"without cosign": {func(run *sbomRun) error { return os.Remove(filepath.Join(run.folder, "bin/cosign")) }, keySigner, "no cosign on PATH"},
		"without the private key": {func(run *sbomRun) error { run.environment = append(run.environment, "COSIGN_PRIVATE_KEY="); return nil },
			keySigner, "COSIGN_PRIVATE_KEY is not set"},
		"with another private key": {func(run *sbomRun) error {
			run.environment = append(run.environment, "COSIGN_PRIVATE_KEY=another")
			return nil
		}, keySigner, "attest cyclonedx of registry.example.com/shop/shop@sha256:10"},
		"an image without the program": {func(run *sbomRun) error { return os.Remove(filepath.Join(run.folder, "images/10/app")) }, keySigner, "has no program /app"},
		"without a release":            {func(run *sbomRun) error { return os.Remove(filepath.Join(run.folder, "services.json")) }, keySigner, "no live services"},
		"a provenance that is no JSON": {func(run *sbomRun) error {
			return os.WriteFile(filepath.Join(run.folder, "provenance.json"), []byte("{"), 0o600)
		}, keySigner, "is no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			run := newSBOMRun(t, oneService, test.config)
			run.put(t, "images/10/app", "the shop")
			if err := test.change(&run); err != nil {
				t.Fatal(err)
			}
			if printed, attested, err := run.run(t, "attest", "provenance.json"); err == nil || !strings.Contains(printed, test.want) {
				t.Errorf("%v, attested %q: got %s, want %s", err, attested, printed, test.want)
			}
		})
	}
}

func TestProvenanceNamesTheWorkflowTheCommitAndTheRun(t *testing.T) {
	run := []string{"GITHUB_SERVER_URL=https://github.com", "GITHUB_REPOSITORY=shop/platform", "GITHUB_EVENT_NAME=push", "GITHUB_SHA=0123", "GITHUB_RUN_ID=5",
		"GITHUB_RUN_ATTEMPT=2", "GITHUB_WORKFLOW_REF=shop/platform/.github/workflows/staging.yml@refs/heads/main"}
	printed, err := script(t, t.TempDir(), run, "provenance")
	if err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	var predicate struct {
		BuildDefinition struct {
			ExternalParameters   struct{ Workflow map[string]string }
			ResolvedDependencies []struct {
				URI    string
				Digest map[string]string
			}
		}
		RunDetails struct {
			Builder  struct{ ID string }
			Metadata struct{ InvocationID string }
		}
	}
	if err := json.Unmarshal([]byte(printed), &predicate); err != nil {
		t.Fatal(err)
	}
	const repository = "https://github.com/shop/platform"
	source := predicate.BuildDefinition.ResolvedDependencies[0]
	for got, want := range map[string]string{
		source.URI:                                 "git+" + repository + "@refs/heads/main",
		source.Digest["gitCommit"]:                 "0123",
		predicate.RunDetails.Builder.ID:            repository + "/.github/workflows/staging.yml@refs/heads/main",
		predicate.RunDetails.Metadata.InvocationID: repository + "/actions/runs/5/attempts/2",
		predicate.BuildDefinition.ExternalParameters.Workflow["path"]: ".github/workflows/staging.yml",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
