package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const stateFolder = "/var/lib/platform"

// process is a folder of /proc.
type process int

func (p process) path(file string) string { return fmt.Sprintf("/proc/%d/%s", p, file) }

// processes are all that run on this machine now.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			all = append(all, process(pid))
		}
	}
	return all, nil
}

// inPod reports whether the process belongs to a pod of the node.
func (p process) inPod() bool {
	groups, _ := os.ReadFile(p.path("cgroup"))
	return strings.Contains(string(groups), "/platform/")
}

// session is the number of the process's session; 0 when it has ended.
func (p process) session() int {
	stat, _ := os.ReadFile(p.path("stat"))
	// The second field is a name in parentheses and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 4 {
		return 0
	}
	session, _ := strconv.Atoi(fields[3]) // proc(5): field 6
	return session
}

// supervised are the supervisor and the processes that it runs, by name.
func supervised(t *testing.T) map[string]process {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(stateFolder, "node", "run", "*.pid"))
	if err != nil {
		t.Fatal(err)
	}
	running := map[string]process{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// "<pid> <start>"; others, such as dockerd's own, hold just the number.
		var pid int
		var start string
		if n, _ := fmt.Sscan(string(content), &pid, &start); n == 2 {
			running[strings.TrimSuffix(filepath.Base(file), ".pid")] = process(pid)
		}
	}
	for _, name := range append(componentNames(), "supervisor") {
		if running[name] == 0 {
			t.Fatalf("the supervisor has no process for %s", name)
		}
	}
	return running
}
