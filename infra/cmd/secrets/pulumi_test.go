package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// standIn is the program that stands in for pulumi.
var standIn string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pulumi" {
		if err := StandIn(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(255)
		}
		return
	}
	os.Exit(withStandIn(m))
}

func withStandIn(m *testing.M) int {
	folder, err := os.MkdirTemp("", "pulumi-stand-in")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	standIn = filepath.Join(folder, "pulumi")
	binary, err := os.Executable()
	if err == nil {
		err = os.Symlink(binary, standIn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// project is one that the stand-in keeps.
type project struct {
	Project
	t testing.TB
}

// newProject makes a project whose stack has this configuration, and was never up.
func newProject(t testing.TB, entries map[string]Entry) project {
	t.Helper()
	p := project{Project(t.TempDir()), t}
	if entries == nil {
		entries = map[string]Entry{}
	}
	content, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	p.write(Configuration, string(content))
	p.write(Outputs, "{}")
	p.write("Pulumi.yaml", "name: platform\n")
	t.Setenv("PATH", filepath.Dir(standIn)+":"+os.Getenv("PATH"))
	t.Setenv(FolderVariable, string(p.Project))
	if test, ok := t.(*testing.T); ok {
		test.Chdir(string(p.Project))
	}
	return p
}

func (p project) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(p.Path(name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p project) remove(name string) {
	p.t.Helper()
	if err := os.Remove(p.Path(name)); err != nil {
		p.t.Fatal(err)
	}
}

// values is what is stored, by the secrets' names.
func (p project) values() map[string]string {
	p.t.Helper()
	entries, err := p.Entries()
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
	calls, err := os.ReadFile(p.Path(Calls))
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
	p.write(Outputs, string(content))
}

// run is the command on the stack local.
func (p project) run(args ...string) (output string, err error) {
	p.t.Helper()
	var out strings.Builder
	err = run(p.t.Context(), append([]string{"-stack", "local"}, args...), &out)
	return out.String(), err
}

// mustRun is a run that does what it should.
func (p project) mustRun(args ...string) (output string) {
	p.t.Helper()
	output, err := p.run(args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return output
}
