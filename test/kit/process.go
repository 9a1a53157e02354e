package kit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// StateFolder is the folder with the data of the local platform.
const StateFolder = "/var/lib/platform"

// Process is a PID, with its folder in /proc.
type Process int

// Path returns the path of a file of the process in /proc.
func (p Process) Path(file string) string { return fmt.Sprintf("/proc/%d/%s", p, file) }

// Processes returns all running processes of this machine.
func Processes(t *testing.T) []Process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var all []Process
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			all = append(all, Process(pid))
		}
	}
	return all
}

// InPod reports whether the process belongs to a pod of the node.
func (p Process) InPod() bool {
	groups, _ := os.ReadFile(p.Path("cgroup"))
	return strings.Contains(string(groups), "/platform/")
}

// Session returns the session ID of the process, or 0 after it has ended.
func (p Process) Session() int {
	stat, _ := os.ReadFile(p.Path("stat"))
	// The second field is a name in parentheses and may contain any characters.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 4 {
		return 0
	}
	session, _ := strconv.Atoi(fields[3]) // proc(5): field 6
	return session
}

// Supervised returns the supervisor and its processes, by name. It fails the test if a component has no process.
func Supervised(t *testing.T) map[string]Process {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(StateFolder, "node", "run", "*.pid"))
	if err != nil {
		t.Fatal(err)
	}
	running := map[string]Process{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// "<pid> <start>"; others, such as dockerd's own, contain only the number.
		var pid int
		var start string
		if n, _ := fmt.Sscan(string(content), &pid, &start); n == 2 {
			running[strings.TrimSuffix(filepath.Base(file), ".pid")] = Process(pid)
		}
	}
	for _, name := range append(ComponentNames(), "supervisor") {
		if running[name] == 0 {
			t.Fatalf("the supervisor has no process for %s", name)
		}
	}
	return running
}
