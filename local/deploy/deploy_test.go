package deploy

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/local/file"
	"platform.example/local/layout"
	"platform.example/local/progress"
)

// deployment is one whose folders are the test's; pulumi is a script that notes
// how it was called in <state>/calls and, as the real one, keeps a file per stack.
func deployment(t *testing.T) (d *Deployment, said *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	l := layout.Layout{Repo: filepath.Join(root, "clone"), State: filepath.Join(root, "state"), Cache: filepath.Join(root, "cache")}
	for _, folder := range []string{l.Repo, l.Bin()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`#!/bin/sh
echo "$PWD: $*" >> '%s/calls'
if [ "$1 $2" = "stack init" ]; then
	stacks="${PULUMI_BACKEND_URL#file://}/.pulumi/stacks/platform"
	mkdir -p "$stacks" && echo '{"version":3,"checkpoint":{}}' > "$stacks/$3.json"
fi
echo "$PULUMI_SAYS"
exit ${PULUMI_EXITS:-0}
`, l.State)
	if err := os.WriteFile(filepath.Join(l.Bin(), "pulumi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	said = &bytes.Buffer{}
	return New(l, progress.New(said)), said
}

func (d *Deployment) calls(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(d.layout.State, "calls"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

func TestTheCloneGetsALinkToTheConfiguration(t *testing.T) {
	const name = "Pulumi.local.yaml"
	for _, c := range []struct {
		name    string
		before  func(link, path string) error
		refused bool
	}{
		{"nothing is there", func(string, string) error { return nil }, false},
		{"the link is there", func(link, path string) error { return os.Symlink(path, link) }, false},
		{"a link leads elsewhere", func(link, _ string) error { return os.Symlink("/nowhere/"+name, link) }, false},
		{"a file of its own is there", func(link, _ string) error { return os.WriteFile(link, []byte("mine"), 0o644) }, true},
		{"a folder is there", func(link, _ string) error { return os.Mkdir(link, 0o755) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := deployment(t)
			link, path := filepath.Join(d.layout.Repo, name), d.file(name)
			if err := errors.Join(c.before(link, path), file.Write(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				err := d.Link()
				if c.refused {
					if want := link + " is a file of its own, but make up keeps it at " + path + ": move it away"; err == nil || err.Error() != want {
						t.Errorf("%v, want %s", err, want)
					}
					if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink != 0 {
						t.Errorf("it was replaced: %v, %v", info, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if target, err := os.Readlink(link); err != nil || target != path {
					t.Errorf("the link leads to %q, want %q: %v", target, path, err)
				}
			}
		})
	}
}

func TestTheConfigurationIsMadeOnce(t *testing.T) {
	d, _ := deployment(t)
	path := d.file("Pulumi.local.yaml")
	if err := d.ensureConfiguration(Target{Registry: "127.0.0.1:5100", Kubeconfig: "/k", Context: "c"}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(d.layout.Repo, "Pulumi.local.yaml"))
	want := "# Made by make up.\nconfig:\n  platform:registry: 127.0.0.1:5100\n  platform:kubeconfig: /k\n  platform:kubeContext: c\n"
	if err != nil || string(content) != want {
		t.Errorf("%q, %v, want %q", content, err, want)
	}
	withSecrets := want + "  platform:demoPassword:\n    secure: v1:abc\n"
	if err := os.WriteFile(path, []byte(withSecrets), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.ensureConfiguration(Target{Registry: "127.0.0.1:5100"}); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); string(content) != withSecrets {
		t.Errorf("what Pulumi added is gone: %q", content)
	}
}

func TestForgetRemovesOnlyOurLink(t *testing.T) {
	d, _ := deployment(t)
	link := filepath.Join(d.layout.Repo, "Pulumi.local.yaml")
	for _, c := range []struct {
		target string
		kept   bool
	}{{d.file("Pulumi.local.yaml"), false}, {"/another/Pulumi.local.yaml", true}} {
		if err := os.Symlink(c.target, link); err != nil {
			t.Fatal(err)
		}
		if err := d.Forget(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(link); (err == nil) != c.kept {
			t.Errorf("link to %s: kept %v, want %v", c.target, err == nil, c.kept)
		}
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget(); err != nil {
		t.Errorf("nothing to forget: %v", err)
	}
}

func TestThePassphraseIsDrawnOnce(t *testing.T) {
	d, _ := deployment(t)
	read := func(d *Deployment) string {
		t.Helper()
		if err := d.ensurePassphrase(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(d.file("passphrase"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		content, err := os.ReadFile(d.file("passphrase"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	first := read(d)
	if drawn, err := base64.RawURLEncoding.DecodeString(first); err != nil || len(drawn) != 32 {
		t.Errorf("it holds %d bytes: %v", len(drawn), err)
	}
	if read(d) != first {
		t.Error("a second run drew another")
	}
	if other, _ := deployment(t); read(other) == first {
		t.Error("another state has the same one")
	}
}

// lock is what an update of the process leaves in the backend when it is killed.
func (d *Deployment) lock(t *testing.T, name string, pid int) {
	t.Helper()
	path := d.file("backend", ".pulumi", "locks", "organization", "platform", Stack, name+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf(`{"pid":%d,"username":"root","hostname":"here","timestamp":"2026-01-01T00:00:00Z"}`, pid)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// deadPID is the number of a process that has ended.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestTheLockOfAKilledUpdateIsReleased(t *testing.T) {
	d, said := deployment(t)
	d.lock(t, "a", deadPID(t))
	if err := d.releaseDeadLocks(t.Context(), Target{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{d.layout.Repo + ": cancel --yes --stack local --non-interactive"}; !slices.Equal(d.calls(t), want) {
		t.Errorf("pulumi was called as %q, want %q", d.calls(t), want)
	}
	if !strings.Contains(said.String(), "a former pulumi was killed: releasing its lock") {
		t.Errorf("a person is told %q", said)
	}
}

func TestTheLockOfARunningUpdateIsRespected(t *testing.T) {
	d, _ := deployment(t)
	d.lock(t, "a", os.Getpid())
	err := d.releaseDeadLocks(t.Context(), Target{})
	want := fmt.Sprintf("process %d is changing stack local right now: wait for it to end, then run this again", os.Getpid())
	if err == nil || err.Error() != want || len(d.calls(t)) > 0 {
		t.Errorf("%v; pulumi was called as %q; want %s", err, d.calls(t), want)
	}
}

func TestWithoutLocksPulumiIsNotCalled(t *testing.T) {
	d, _ := deployment(t)
	if err := d.releaseDeadLocks(t.Context(), Target{}); err != nil || len(d.calls(t)) > 0 {
		t.Errorf("%v; calls %q", err, d.calls(t))
	}
}

func TestPrepareMakesTheStackOnce(t *testing.T) {
	d, _ := deployment(t)
	if err := d.prepare(t.Context(), Target{Registry: "r"}); err != nil {
		t.Fatal(err)
	}
	want := []string{d.layout.Repo + ": stack init local --non-interactive"}
	if !slices.Equal(d.calls(t), want) {
		t.Errorf("calls %q, want %q", d.calls(t), want)
	}
	if err := d.prepare(t.Context(), Target{Registry: "r"}); err != nil || !slices.Equal(d.calls(t), want) {
		t.Errorf("%v; the second run made it again: %q", err, d.calls(t))
	}
}

func TestWhatCantBeHadIsTurnedOffBeforeTheUpdate(t *testing.T) {
	d, _ := deployment(t)
	secrets := "#!/bin/sh\necho \"$PWD: secrets $*\" >> '" + d.layout.State + "/calls'\n"
	if err := os.WriteFile(filepath.Join(d.layout.Bin(), "secrets"), []byte(secrets), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Up(t.Context(), Target{Registry: "r"}, "monitoring.grafana"); err != nil {
		t.Fatal(err)
	}
	off := slices.Index(d.calls(t), d.layout.Repo+": config set --path platform:monitoring.grafana false --stack local --non-interactive")
	up := slices.IndexFunc(d.calls(t), func(call string) bool { return strings.HasPrefix(call, d.layout.Repo+": up ") })
	if off < 0 || up < off {
		t.Errorf("calls %q", d.calls(t))
	}
}

func TestOutputsAndResources(t *testing.T) {
	d, _ := deployment(t)
	t.Setenv("PULUMI_SAYS", `{"url":"https://127.0.0.1:30443","certificateAuthority":"PEM","services":{}}`)
	want := Outputs{URL: "https://127.0.0.1:30443", Authority: "PEM"}
	if told, err := d.Outputs(t.Context(), Target{}); err != nil || told != want {
		t.Errorf("%+v, %v", told, err)
	}
	t.Setenv("PULUMI_SAYS", `{}`)
	if _, err := d.Outputs(t.Context(), Target{}); err == nil || !strings.Contains(err.Error(), "there is no url: run make up") {
		t.Errorf("a stack that was never up: %v", err)
	}
	t.Setenv("PULUMI_SAYS", `{"version":3,"deployment":{"resources":[{},{},{}]}}`)
	if count, err := d.Resources(t.Context(), Target{}); err != nil || count != 3 {
		t.Errorf("%d, %v", count, err)
	}
	t.Setenv("PULUMI_EXITS", "255")
	if _, err := d.Outputs(t.Context(), Target{}); err == nil || !strings.HasPrefix(err.Error(), "outputs of stack local: exit status 255") {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	d, _ := deployment(t)
	own := d.Environment(Target{Kubeconfig: "/k", Docker: "unix:///d"})
	for _, want := range []string{"KUBECONFIG=/k", "DOCKER_HOST=unix:///d", "PULUMI_BACKEND_URL=file://" + d.file("backend"), "PULUMI_CONFIG_PASSPHRASE_FILE=" + d.file("passphrase")} {
		if !slices.Contains(own, want) {
			t.Errorf("no %s in %q", want, own)
		}
	}
	for _, variable := range d.Environment(Target{Context: "theirs"}) {
		if strings.HasPrefix(variable, "KUBECONFIG=") || strings.HasPrefix(variable, "DOCKER_HOST=") {
			t.Errorf("on a cluster elsewhere, the person's own %s counts", variable)
		}
	}
}

// A person's shell also speaks to other stacks, where what others made must not be taken over.
func TestOnlyOurOwnRunsTakeOverWhatAKilledOneMade(t *testing.T) {
	d, _ := deployment(t)
	if slices.ContainsFunc(d.Environment(Target{}), func(variable string) bool { return strings.Contains(variable, "PATCH_FORCE") }) {
		t.Error("make env exports it")
	}
	var environment bytes.Buffer
	if err := d.run(t.Context(), Target{}, &environment, "/usr/bin/env"); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Split(environment.String(), "\n"), "PULUMI_K8S_ENABLE_PATCH_FORCE=true") {
		t.Errorf("a run of ours lacks it: %s", &environment)
	}
}

func TestTheLanguageHostRunsTheCompiledProgram(t *testing.T) {
	d, _ := deployment(t)
	host, wrapper := filepath.Join(d.layout.Cache, "host"), filepath.Join(d.layout.Cache, "wrapper")
	if err := os.MkdirAll(d.layout.Cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(host, []byte("#!/bin/sh\nprintf '%s|' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.writeLanguageHost(wrapper, host); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "infra")
	program := folder + "/../.build/program"
	write := func(path, content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	source := func(body string) func() {
		return func() { write(filepath.Join(folder, "main.go"), "package main\n\nfunc main() { "+body+" }\n") }
	}
	write(filepath.Join(folder, "go.mod"), "module example.com/program\n\ngo 1.26\n")
	began := func() (at time.Time) {
		if is, err := os.Stat(program + ".began"); err == nil {
			at = is.ModTime()
		}
		return at
	}
	for _, c := range []struct {
		name           string
		before         func()
		runs, compiles bool
	}{
		{"the first time", source("println(1)"), true, true},
		{"again", func() {}, true, false},
		{"a changed source", source("println(2)"), true, true},
		{"another file", func() { write(filepath.Join(folder, "more.go"), "package main\n") }, true, true},
		{"one file less", func() { _ = os.Remove(filepath.Join(folder, "more.go")) }, true, true},
		{"a broken source", source("broken"), false, false}, // the host itself says what is wrong
		{"still broken", func() {}, false, false},
		{"mended", source("println(2)"), true, true},
	} {
		former := began()
		c.before()
		cmd := exec.Command(wrapper, "127.0.0.1:1", "a b")
		cmd.Dir = folder
		want := "127.0.0.1:1|a b|"
		if c.runs {
			want = "-binary=" + program + "|" + want
		}
		if output, err := cmd.CombinedOutput(); err != nil || string(output) != want {
			t.Errorf("%s: %q, %v, want %q", c.name, output, err, want)
		}
		if compiled := began().After(former); compiled != c.compiles {
			t.Errorf("%s: compiled is %v, want %v", c.name, compiled, c.compiles)
		}
	}
}
