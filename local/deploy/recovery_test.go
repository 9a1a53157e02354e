package deploy

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform.example/local/file"
)

func TestHalfWrittenStateIsRestored(t *testing.T) {
	const whole, former = `{"version":3,"checkpoint":{"now":1}}`, `{"version":3,"checkpoint":{"now":0}}`
	for _, c := range []struct {
		name, state, copied string // empty: no such file
		want                string // the state afterwards
		fault               string
	}{
		{name: "nothing was deployed yet"},
		{name: "whole", state: whole, copied: former, want: whole},
		{name: "cut off", state: whole[:10], copied: former, want: former},
		{name: "empty", state: " ", copied: former, want: former},
		{name: "gone", copied: former, want: former},
		{name: "cut off, and the copy too", state: whole[:10], copied: former[:5], fault: "make down"},
		{name: "cut off, and no copy", state: whole[:10], fault: "make down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := deployment(t)
			for path, content := range map[string]string{d.stateFile(): c.state, d.stateFile() + ".bak": c.copied} {
				if content == "" {
					continue
				}
				if err := file.Write(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := d.mendState()
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("got error %v, want one that contains %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if state, _ := os.ReadFile(d.stateFile()); string(state) != c.want {
				t.Errorf("the state is %s, want %s", state, c.want)
			}
		})
	}
}

func TestHalfWrittenAttributesAreRemoved(t *testing.T) {
	d, _ := deployment(t)
	const state, whole = `{"version":3}`, `{"user.content_type":"application/json"}`
	for path, content := range map[string]string{
		d.stateFile(): state, d.stateFile() + ".attrs": "", d.stateFile() + ".bak.attrs": whole[:9], d.file("backend", ".pulumi", "meta.yaml.attrs"): whole,
	} {
		if err := file.Write(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.mendState(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		d.stateFile(): state, d.stateFile() + ".attrs": "", d.stateFile() + ".bak.attrs": "", d.file("backend", ".pulumi", "meta.yaml.attrs"): whole,
	} {
		content, err := os.ReadFile(path)
		if string(content) != want || (want == "") != os.IsNotExist(err) {
			t.Errorf("%s is %q (%v), want %q", path, content, err, want)
		}
	}
}

func TestPendingOperationsAreCompleted(t *testing.T) {
	for state, settles := range map[string]bool{
		`{"checkpoint":{"latest":{}}}`:                                           false,
		`{"checkpoint":{"latest":{"pending_operations":[{"type":"creating"}]}}}`: true,
	} {
		d, _ := deployment(t)
		const release = "package main\n\nimport (\n\t\"os\"\n\t\"strings\"\n)\n\nfunc main() { os.WriteFile(\"settled\", []byte(strings.Join(os.Args[1:], \" \")), 0o600) }\n"
		infra := filepath.Join(d.layout.Repo, "infra")
		if err := errors.Join(
			file.Write(d.stateFile(), []byte(state), 0o600), file.Write(filepath.Join(infra, "go.mod"), []byte("module infra\n"), 0o600),
			file.Write(filepath.Join(infra, "cmd", "release", "main.go"), []byte(release), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		if err := d.settlePending(t.Context(), Target{}); err != nil {
			t.Fatal(err)
		}
		settled, _ := os.ReadFile(filepath.Join(d.layout.Repo, "settled"))
		if got := string(settled) == "-stack local settle"; got != settles {
			t.Errorf("with state %s, release was called with %q", state, settled)
		}
	}
}

func TestOnlyOrphanedPluginsAreKilled(t *testing.T) {
	d, _ := deployment(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	_ = gone.Close()

	plugin := filepath.Join(d.layout.Cache, "plugin")
	orphan := waiting(t, plugin, nobody)
	served := waiting(t, plugin, listener.Addr().String())
	stranger := waiting(t, "/elsewhere/plugin", nobody)
	d.EndOrphans()
	select {
	case <-orphan:
	case <-time.After(10 * time.Second):
		t.Error("the orphaned plugin still runs")
	}
	for name, exited := range map[string]chan struct{}{"a plugin whose pulumi runs": served, "a stranger": stranger} {
		select {
		case <-exited:
			t.Errorf("%s was killed", name)
		default:
		}
	}
}

// waiting starts a process that waits, with the given command line. It closes the channel when the process ends.
func waiting(t *testing.T, name, address string) chan struct{} {
	t.Helper()
	tail, err := exec.LookPath("tail")
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: tail, Args: []string{name, "-f", "/dev/null", address}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-exited })
	return exited
}
