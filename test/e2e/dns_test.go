package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DNS accepts queries and never answers, for longer than anybody uses an address without looking it up again.
func TestReleaseTrafficOutlivesDNS(t *testing.T) {
	const outage = 45 * time.Second
	servers := processes(t, "coredns")
	if len(servers) == 0 {
		t.Fatal("no CoreDNS runs")
	}
	signal := func(signal syscall.Signal) {
		for _, pid := range servers {
			if err := syscall.Kill(pid, signal); err != nil {
				t.Error(err)
			}
		}
	}
	defer signal(syscall.SIGCONT)
	underLoad(t, func() map[string]string {
		signal(syscall.SIGSTOP)
		time.Sleep(outage)
		signal(syscall.SIGCONT)
		return nil
	})
}

// processes returns the processes of this machine that run the program of that name.
func processes(t *testing.T, program string) (pids []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(comm)) != program { // it has ended
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
