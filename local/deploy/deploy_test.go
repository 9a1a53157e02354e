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

// deployment returns a deployment in test folders, and its log. pulumi is a script that records its calls in <state>/calls and,
// like the real one, stores a file per stack.
func deployment(t *testing.T) (d *Deployment, logged *bytes.Buffer) {
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
if [ "$1 $2" = "config get" ] && [ "$4" != "$PULUMI_HAS" ]; then exit 255; fi
echo "$PULUMI_SAYS"
exit ${PULUMI_EXITS:-0}
`, l.State)
	if err := os.WriteFile(filepath.Join(l.Bin(), "pulumi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	logged = &bytes.Buffer{}
	return New(l, progress.New(logged)), logged
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

func TestLinkCreatesALinkInTheClone(t *testing.T) {
	const name = "Pulumi.local.yaml"
	for _, c := range []struct {
		name    string
		before  func(link, path string) error
		refused bool
	}{
		{"nothing exists", func(string, string) error { return nil }, false},
		{"the link exists", func(link, path string) error { return os.Symlink(path, link) }, false},
		{"the link points elsewhere", func(link, _ string) error { return os.Symlink("/nowhere/"+name, link) }, false},
		{"a regular file exists", func(link, _ string) error { return os.WriteFile(link, []byte("mine"), 0o644) }, true},
		{"a folder exists", func(link, _ string) error { return os.Mkdir(link, 0o755) }, true},
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
					if want := link + " is a regular file, but make up keeps the configuration at " + path + ": move it away"; err == nil || err.Error() != want {
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
					t.Errorf("the link points to %q, want %q: %v", target, path, err)
				}
			}
		})
	}
}

func TestConfigurationIsCreatedOnce(t *testing.T) {
	d, _ := deployment(t)
	path := d.file("Pulumi.local.yaml")
	if err := d.ensureConfiguration(Target{Registry: "127.0.0.1:5100", Kubeconfig: "/k", Context: "c"}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(d.layout.Repo, "Pulumi.local.yaml"))
	want := "# Created by make up.\nconfig:\n  platform:registry: 127.0.0.1:5100\n  platform:kubeconfig: /k\n  platform:kubeContext: c\n"
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
		t.Errorf("Pulumi's addition is lost: %q", content)
	}
}

func TestForgetRemovesOnlyItsOwnLink(t *testing.T) {
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
		t.Errorf("Forget without a link: %v", err)
	}
}

func TestPassphraseIsGeneratedOnce(t *testing.T) {
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
		t.Errorf("the passphrase has %d bytes: %v", len(drawn), err)
	}
	if read(d) != first {
		t.Error("a second run generated another passphrase")
	}
	if other, _ := deployment(t); read(other) == first {
		t.Error("another state has the same passphrase")
	}
}

// lock creates the lock that a killed update of the process leaves in the backend.
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

// deadPID returns the PID of a process that has ended.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// After a restart of the machine, another program may have the PID of the killed update.
func TestLockOfAKilledUpdateIsReleased(t *testing.T) {
	for holder, pid := range map[string]int{"no process": deadPID(t), "another program": os.Getpid()} {
		d, logged := deployment(t)
		d.lock(t, "a", pid)
		if err := d.releaseDeadLocks(t.Context(), Target{}); err != nil {
			t.Fatalf("%s: %v", holder, err)
		}
		if want := []string{d.layout.Repo + ": cancel --yes --stack local --non-interactive"}; !slices.Equal(d.calls(t), want) {
			t.Errorf("%s: pulumi was called as %q, want %q", holder, d.calls(t), want)
		}
		if !strings.Contains(logged.String(), "a previous pulumi was killed: releasing its lock") {
			t.Errorf("%s: the log is %q", holder, logged)
		}
	}
}

func TestLockOfARunningUpdateIsRespected(t *testing.T) {
	d, _ := deployment(t)
	program := filepath.Join(t.TempDir(), "pulumi")
	if err := os.Symlink("/bin/sleep", program); err != nil {
		t.Fatal(err)
	}
	running := exec.Command(program, "300")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Process.Kill(); _ = running.Wait() }()
	d.lock(t, "a", running.Process.Pid)
	err := d.releaseDeadLocks(t.Context(), Target{})
	want := fmt.Sprintf("process %d is changing stack local: wait until it ends, then retry", running.Process.Pid)
	if err == nil || err.Error() != want || len(d.calls(t)) > 0 {
		t.Errorf("%v; pulumi was called as %q; want %s", err, d.calls(t), want)
	}
}

func TestPulumiIsNotCalledWithoutLocks(t *testing.T) {
	d, _ := deployment(t)
	if err := d.releaseDeadLocks(t.Context(), Target{}); err != nil || len(d.calls(t)) > 0 {
		t.Errorf("%v; calls %q", err, d.calls(t))
	}
}

func TestPrepareCreatesTheStackOnce(t *testing.T) {
	d, _ := deployment(t)
	if err := d.prepare(t.Context(), Target{Registry: "r"}); err != nil {
		t.Fatal(err)
	}
	want := []string{d.layout.Repo + ": stack init local --non-interactive"}
	if !slices.Equal(d.calls(t), want) {
		t.Errorf("calls %q, want %q", d.calls(t), want)
	}
	if err := d.prepare(t.Context(), Target{Registry: "r"}); err != nil || !slices.Equal(d.calls(t), want) {
		t.Errorf("%v; the second run called %q", err, d.calls(t))
	}
}

func TestUnavailableImagesAreDisabledBeforeTheUpdate(t *testing.T) {
	d, _ := deployment(t)
	secrets := "#!/bin/sh\necho \"$PWD: secrets $*\" >> '" + d.layout.State + "/calls'\n"
	if err := os.WriteFile(filepath.Join(d.layout.Bin(), "secrets"), []byte(secrets), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Up(t.Context(), Target{Registry: "r"}, "monitoring.grafana=false"); err != nil {
		t.Fatal(err)
	}
	off := slices.Index(d.calls(t), d.layout.Repo+": config set --path platform:monitoring.grafana false --stack local --non-interactive")
	up := slices.IndexFunc(d.calls(t), func(call string) bool { return strings.HasPrefix(call, d.layout.Repo+": up ") })
	if off < 0 || up < off {
		t.Errorf("calls %q", d.calls(t))
	}
}

// A run that continues an interrupted one sets what that one hasn't, and keeps what users have changed.
func TestSettingsThatAreSetStay(t *testing.T) {
	d, _ := deployment(t)
	if err := os.WriteFile(filepath.Join(d.layout.Bin(), "secrets"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PULUMI_HAS", "platform:replicas.min")
	if err := d.Up(t.Context(), Target{Registry: "127.0.0.1:5100"}, "replicas.min?=2", "postgres.instances?=3"); err != nil {
		t.Fatal(err)
	}
	calls := strings.Join(d.calls(t), "\n")
	if strings.Contains(calls, "set --path platform:replicas.min") || !strings.Contains(calls, "config set --path platform:postgres.instances 3 ") {
		t.Errorf("pulumi was called:\n%s", calls)
	}
}

func TestOutputsAndResources(t *testing.T) {
	d, _ := deployment(t)
	t.Setenv("PULUMI_SAYS", `{"url":"https://127.0.0.1:30443","certificateAuthority":"PEM","services":{}}`)
	want := Outputs{URL: "https://127.0.0.1:30443", Authority: "PEM"}
	if outputs, err := d.Outputs(t.Context(), Target{}); err != nil || outputs != want {
		t.Errorf("%+v, %v", outputs, err)
	}
	t.Setenv("PULUMI_SAYS", `{}`)
	if _, err := d.Outputs(t.Context(), Target{}); err == nil || !strings.Contains(err.Error(), "there is no url: run make up") {
		t.Errorf("outputs of a stack without an update: %v", err)
	}
	if err := file.Write(d.stateFile(), []byte(`{"version":3,"checkpoint":{"latest":{"resources":[{},{},{}]}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if count, err := d.Resources(); err != nil || count != 3 {
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
			t.Errorf("on another cluster, the user's own %s applies", variable)
		}
	}
}

// The user's shell also uses other stacks, where the provider must not adopt objects of other owners.
func TestOnlyOwnRunsAdoptObjectsOfAKilledRun(t *testing.T) {
	d, _ := deployment(t)
	if slices.ContainsFunc(d.Environment(Target{}), func(variable string) bool { return strings.Contains(variable, "PATCH_FORCE") }) {
		t.Error("make env exports the variable")
	}
	var environment bytes.Buffer
	if err := d.run(t.Context(), Target{}, &environment, "/usr/bin/env"); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Split(environment.String(), "\n"), "PULUMI_K8S_ENABLE_PATCH_FORCE=true") {
		t.Errorf("an own run lacks the variable: %s", &environment)
	}
}

func TestLanguageHostRunsTheCompiledProgram(t *testing.T) {
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
		{"first run", source("println(1)"), true, true},
		{"again", func() {}, true, false},
		{"a changed source", source("println(2)"), true, true},
		{"another file", func() { write(filepath.Join(folder, "more.go"), "package main\n") }, true, true},
		{"a removed file", func() { _ = os.Remove(filepath.Join(folder, "more.go")) }, true, true},
		{"a broken source", source("broken"), false, false}, // the host itself reports the error
		{"still broken", func() {}, false, false},
		{"the corrected source", source("println(2)"), true, true},
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
			t.Errorf("%s: compiled: %v, want %v", c.name, compiled, c.compiles)
		}
	}
}
