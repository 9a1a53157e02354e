package lifecycle

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// look describes everything that a platform could leave on the machine.
func look(t *testing.T) string {
	t.Helper()
	var seen []string
	add := func(kind string, found ...string) {
		for _, item := range found {
			seen = append(seen, kind+": "+item)
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		add("interface", i.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		add("mount", strings.Fields(line)[4])
	}
	for _, tables := range []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		add(tables, rules(t, tables)...)
	}
	if sets, err := exec.Command("ipset", "list", "-n").Output(); err == nil {
		add("ipset", strings.Fields(string(sets))...)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/platform", "/sys/fs/cgroup/*/platform", kit.StateFolder, "/var/lib/kubelet", "/var/lib/cni",
		"/var/log/pods", "/var/log/containers", "/run/containerd", "/run/docker", "Pulumi.local.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		add("folder", found...)
	}
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/bridge/bridge-nf-call-iptables"} {
		value, _ := os.ReadFile("/proc/sys/" + name)
		add("sysctl", name+"="+strings.TrimSpace(string(value)))
	}
	add("process", platformProcesses(t)...)
	changed, err := exec.Command("git", "status", "--porcelain").Output()
	if err != nil {
		t.Fatal(err)
	}
	add("git", strings.Split(strings.TrimSpace(string(changed)), "\n")...)
	return strings.Join(seen, "\n")
}

// rules returns the user-defined chains and all rules, without their counters.
func rules(t *testing.T, command string) []string {
	t.Helper()
	saved, err := exec.Command(command).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var found []string
	for line := range strings.Lines(string(saved)) {
		own := strings.HasPrefix(line, ":") && strings.Contains(line, " - [")
		if own || strings.HasPrefix(line, "-A") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// platformProcesses returns the processes whose command line names the platform's folder or its compiled tools.
func platformProcesses(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, process := range kit.Processes(t) {
		cmdline, _ := os.ReadFile(process.Path("cmdline"))
		line := string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		if strings.Contains(line, kit.StateFolder+"/") || strings.HasPrefix(line, filepath.Join(cache, "platform")+"/") || strings.HasSuffix(line, "local supervise ") {
			found = append(found, line)
		}
	}
	slices.Sort(found)
	return found
}

// cutPower kills all processes of the platform at once: the supervisor first, so that it restarts nothing, then its processes, the
// shims and the pods.
func cutPower(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(kit.StateFolder, "node/run/*.pid"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pid files of a running platform: %v", err)
	}
	slices.SortFunc(files, func(a, b string) int {
		return strings.Compare(b, a) // supervisor.pid first
	})
	if filepath.Base(files[0]) != "supervisor.pid" {
		t.Fatalf("no supervisor among %v", files)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.Fields(string(content))[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", file, err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		left := podsAndShims(t)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v do not end", left)
		}
		for _, process := range left {
			_ = syscall.Kill(int(process), syscall.SIGKILL)
		}
	}
}

func podsAndShims(t *testing.T) []kit.Process {
	t.Helper()
	var found []kit.Process
	for _, process := range kit.Processes(t) {
		cgroup, _ := os.ReadFile(process.Path("cgroup"))
		cmdline, _ := os.ReadFile(process.Path("cmdline"))
		shim := bytes.Contains(cmdline, []byte("containerd-shim")) && bytes.Contains(cmdline, []byte(kit.StateFolder))
		if shim || bytes.Contains(cgroup, []byte(":/platform/")) {
			found = append(found, process)
		}
	}
	return found
}
