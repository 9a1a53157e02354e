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

// process is a PID, with its folder in /proc.
type process int

func (p process) path(file string) string { return fmt.Sprintf("/proc/%d/%s", p, file) }

// processes returns all running processes of this machine.
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

// session returns the session ID of the process, or 0 after it has ended.
func (p process) session() int {
	stat, _ := os.ReadFile(p.path("stat"))
	// The second field is a name in parentheses and may contain any characters.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 4 {
		return 0
	}
	session, _ := strconv.Atoi(fields[3]) // proc(5): field 6
	return session
}

// supervised returns the supervisor and its processes, by name.
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
		// "<pid> <start>"; others, such as dockerd's own, contain only the number.
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
