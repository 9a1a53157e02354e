// Package scale measures the duration of previews with many services: make scale.
package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// own is the number of services in the catalog.
const own = 4

// perService is the planned duration of a preview without changes per added service.
const perService = 100 * time.Millisecond

// TestPreviewOfManyServices deploys generated services beside the platform's own, measures previews without changes, and removes
// the services again. It prints a table. The limit applies to the duration per added service and is five times as much as
// planned, because machines are shared.
func TestPreviewOfManyServices(t *testing.T) {
	t.Cleanup(func() { kit.Restore(t) })
	t.Logf("| services | resources | preview, median of 5 | memory of its largest process |")
	var base time.Duration
	for _, services := range []int{own, 20, 40} {
		clone := kit.CopySources(t)
		generate(t, clone, services-own)
		if printed, err := kit.PulumiUp(clone); err != nil {
			t.Fatalf("%v\n%s", err, printed[max(0, len(printed)-3000):])
		}
		took, memory, resources := preview(t, clone)
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

// preview returns the median duration of previews without changes, the memory in MiB of their largest process, and the number of
// resources.
func preview(t *testing.T, clone string) (median time.Duration, memory int64, resources string) {
	t.Helper()
	var times []time.Duration
	for range 6 {
		cmd := exec.CommandContext(t.Context(), "pulumi", "preview", "--stack", "local", "--non-interactive", "--expect-no-changes")
		cmd.Dir = clone
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
