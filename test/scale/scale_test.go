// Package scale measures the duration of previews with many services: make scale.
package scale

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/variant"
)

// own is the number of services in the catalog.
const own = 4

// perService is the planned duration of a preview without changes per added service.
const perService = 100 * time.Millisecond

// TestPreviewOfManyServices deploys generated services beside the platform's own, measures previews without changes, and removes
// the services again. It prints a table. The limit applies to the duration per added service and is five times as much as
// planned, because machines are shared.
func TestPreviewOfManyServices(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	environment := shell(t, root)
	t.Cleanup(func() { up(t, root, environment) })
	t.Logf("| services | resources | preview, median of 5 | memory of its largest process |")
	var base time.Duration
	for _, services := range []int{own, 20, 40} {
		clone := copyOf(t, root)
		generate(t, clone, services-own)
		up(t, clone, environment)
		took, memory, resources := preview(t, clone, environment)
		t.Logf("| %d | %s | %.1f s | %d MiB |", services, resources, took.Seconds(), memory)
		if base == 0 {
			base = took
			continue
		}
		if each := (took - base) / time.Duration(services-own); each > 5*perService {
			t.Errorf("a preview takes %s per added service, want at most %s", each, perService)
		}
	}
}

// shell returns the environment that make env prints.
func shell(t *testing.T, root string) []string {
	t.Helper()
	exports, err := run(t, root, os.Environ(), "make", "-s", "env")
	if err != nil {
		t.Fatal(err, exports)
	}
	environment, err := run(t, root, os.Environ(), "bash", "-c", exports+"\nenv")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(environment), "\n")
}

func run(t *testing.T, folder string, environment []string, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	return output(ctx, folder, environment, command...)
}

func output(ctx context.Context, folder string, environment []string, command ...string) (string, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = folder, environment
	if path := lookup(environment, command[0]); path != "" {
		cmd.Path, cmd.Err = path, nil
	}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	return text.String(), err
}

// copyOf returns a copy of the clone's files in git, with the stack's configuration.
func copyOf(t *testing.T, root string) string {
	t.Helper()
	clone, err := variant.New(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return string(clone)
}

// generate adds services to the catalog, each with its own folder.
func generate(t *testing.T, clone string, count int) {
	t.Helper()
	catalog := filepath.Join(clone, "infra", "catalog", "services.go")
	content, err := os.ReadFile(catalog)
	if err != nil {
		t.Fatal(err)
	}
	text, end := string(content), "\n\t}\n}\n"
	if !strings.HasSuffix(text, end) {
		t.Fatalf("%s doesn't end with the list of services", catalog)
	}
	text = strings.TrimSuffix(text, end)
	for i := range count {
		name := fmt.Sprintf("generated-%02d", i)
		text += fmt.Sprintf(`
		{
			Name:       %q,
			Resources:  Resources{CPURequest: 10, CPULimit: 100, Memory: 32 * quantity.MiB},
			Objectives: Objectives{Availability: 0.99, Latency: time.Second, LatencyShare: 0.99, Breach: Ticket},
		},`, name)
		folder := filepath.Join(clone, "apps", name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(source(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(catalog, []byte(text+end), 0o600); err != nil {
		t.Fatal(err)
	}
}

// source returns the source of a service that becomes ready and does nothing else.
func source(name string) string {
	return `package main

import "net/http"

func main() {
	go func() {
		_ = http.ListenAndServe(":9090", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	}()
	_ = http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("` + name + `"))
	}))
}
`
}

func up(t *testing.T, clone string, environment []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the test's context ends before its cleanup
	defer cancel()
	if text, err := output(ctx, clone, environment, "pulumi", "up", "--stack", "local", "--yes", "--skip-preview", "--non-interactive"); err != nil {
		t.Fatalf("%v\n%s", err, text[max(0, len(text)-3000):])
	}
}

// preview returns the median duration of previews without changes, the memory in MiB of their largest process, and the number of
// resources.
func preview(t *testing.T, clone string, environment []string) (median time.Duration, memory int64, resources string) {
	t.Helper()
	var times []time.Duration
	for range 6 {
		cmd := exec.CommandContext(t.Context(), "pulumi", "preview", "--stack", "local", "--non-interactive", "--expect-no-changes")
		cmd.Dir, cmd.Env = clone, environment
		if path := lookup(environment, "pulumi"); path != "" {
			cmd.Path, cmd.Err = path, nil
		}
		started := time.Now()
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		times = append(times, time.Since(started))
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			memory = max(memory, usage.Maxrss/1024)
		}
		for line := range strings.Lines(string(text)) {
			if count, found := strings.CutSuffix(strings.TrimSpace(line), " unchanged"); found {
				resources = count
			}
		}
	}
	times = times[1:] // the first preview compiles the program and the services
	slices.Sort(times)
	return times[len(times)/2], memory, resources
}

// lookup finds a command on the PATH of an environment.
func lookup(environment []string, command string) string {
	for _, variable := range environment {
		if folders, ok := strings.CutPrefix(variable, "PATH="); ok {
			for _, folder := range filepath.SplitList(folders) {
				if path, err := exec.LookPath(filepath.Join(folder, command)); err == nil {
					return path
				}
			}
		}
	}
	return ""
}
