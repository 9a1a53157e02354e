package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// standInFolder is the environment variable that names the folder of a project whose pulumi is this test's binary.
const standInFolder = "PULUMI_STAND_IN"

func TestMain(m *testing.M) {
	folder := os.Getenv(standInFolder)
	if folder == "" || filepath.Base(os.Args[0]) != "pulumi" {
		os.Exit(m.Run())
	}
	if err := standIn(project{folder: folder}, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
	os.Exit(0)
}

// project is a folder with what the stand-in for pulumi keeps: the stack's configuration and outputs, and how it was
// called.
type project struct {
	t      testing.TB // nil in the stand-in itself
	folder string
}

// entry is a value of the configuration, as pulumi config --json prints it.
type entry struct {
	Value  string `json:"value"`
	Secret bool   `json:"secret"`
}

// The files of a project.
const (
	configurationFile = "configuration"
	outputsFile       = "outputs"
	callsFile         = "calls"
	failureFile       = "failure" // what each call fails with
	storesFile        = "stores"  // how many values are still stored before that fails
	heldFile          = "held"    // while it is there, no value is stored
	startedFile       = "started" // made once one is about to be
)

// standIn does what pulumi would.
func standIn(p project, args []string) error {
	call := strings.Join(args, " ")
	calls, err := os.OpenFile(p.path(callsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(calls, call); err != nil {
		return errors.Join(err, calls.Close())
	}
	if err := calls.Close(); err != nil {
		return err
	}
	if syscall.Getpgrp() != os.Getpid() {
		return errors.New("an interruption from the terminal would end this while it writes")
	}
	if failure, err := os.ReadFile(p.path(failureFile)); err == nil {
		return errors.New(string(failure))
	}
	switch call = strings.TrimSuffix(call, " --non-interactive"); {
	case strings.HasPrefix(call, "config --json --show-secrets --stack "):
		return p.print(configurationFile)
	case strings.HasPrefix(call, "stack output --json --stack "):
		return p.print(outputsFile)
	case strings.HasPrefix(call, "config set --secret --stack ") && len(args) == 7:
		return p.store(args[5])
	default:
		return fmt.Errorf("unexpected: %s", call)
	}
}

func (p project) path(name string) string { return filepath.Join(p.folder, name) }

func (p project) has(name string) bool {
	_, err := os.Stat(p.path(name))
	return err == nil
}

func (p project) print(name string) error {
	content, err := os.ReadFile(p.path(name))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(content)
	return err
}

// store adds what is on the standard input to the configuration, without the line break at its end, as pulumi does.
func (p project) store(key string) error {
	value, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	if text, err := os.ReadFile(p.path(storesFile)); err == nil {
		left, err := strconv.Atoi(string(text))
		if err != nil {
			return err
		}
		if left == 0 {
			return errors.New("interrupted")
		}
		if err := os.WriteFile(p.path(storesFile), []byte(strconv.Itoa(left-1)), 0o600); err != nil {
			return err
		}
	}
	entries, err := p.entries()
	if err != nil {
		return err
	}
	entries[key] = entry{Value: strings.TrimSuffix(string(value), "\n"), Secret: true}
	content, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(p.path(configurationFile), content, 0o600)
}

func (p project) wait() error {
	if !p.has(heldFile) {
		return nil
	}
	if err := os.WriteFile(p.path(startedFile), nil, 0o600); err != nil {
		return err
	}
	return poll(func() bool { return !p.has(heldFile) })
}

// poll waits until something holds, or for so long that it never will.
func poll(holds func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			return errors.New("it never came to pass")
		}
	}
	return nil
}

func (p project) entries() (entries map[string]entry, err error) {
	content, err := os.ReadFile(p.path(configurationFile))
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(content, &entries)
	return entries, err
}

// newProject makes a project whose stack has this configuration, and was never up.
func newProject(t testing.TB, entries map[string]entry) project {
	t.Helper()
	p := project{t, t.TempDir()}
	if entries == nil {
		entries = map[string]entry{}
	}
	content, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	p.write(configurationFile, string(content))
	p.write(outputsFile, "{}")
	p.write("Pulumi.yaml", "name: platform\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, p.path("pulumi")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", p.folder+":"+os.Getenv("PATH"))
	t.Setenv(standInFolder, p.folder)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the stand-in needn't wait for races at its end
	if test, ok := t.(*testing.T); ok {
		test.Chdir(p.folder)
	}
	return p
}

func (p project) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p project) remove(name string) {
	p.t.Helper()
	if err := os.Remove(p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

// values is what is stored, by the secrets' names.
func (p project) values() map[string]string {
	p.t.Helper()
	entries, err := p.entries()
	if err != nil {
		p.t.Fatal(err)
	}
	values := map[string]string{}
	for key, entry := range entries {
		if name, ours := strings.CutPrefix(key, stack.Namespace+":"); ours && entry.Secret {
			values[name] = entry.Value
		}
	}
	return values
}

// calls is how the stand-in was called so far.
func (p project) calls() string {
	p.t.Helper()
	calls, err := os.ReadFile(p.path(callsFile))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(calls)
}

// update is pulumi up: the stack runs with what is stored.
func (p project) update() {
	p.t.Helper()
	versions := map[string]string{}
	for name, value := range p.values() {
		versions[name] = secret.Version(value)
	}
	content, err := json.Marshal(map[string]any{"url": "https://localhost:30443", secret.Output: versions})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(outputsFile, string(content))
}

// run is the command on the stack local.
func (p project) run(args ...string) (said string, err error) {
	p.t.Helper()
	var out strings.Builder
	err = run(p.t.Context(), append([]string{"-stack", "local"}, args...), &out)
	return out.String(), err
}

// mustRun is a run that does what it should.
func (p project) mustRun(args ...string) (said string) {
	p.t.Helper()
	said, err := p.run(args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return said
}
