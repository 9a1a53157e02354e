package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DNS accepts queries and never answers, for longer than anybody uses an address without looking it up again.
func TestReleaseTrafficOutlivesDNS(t *testing.T) {
	const outage = 45 * time.Second
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var servers []process
	for _, p := range all {
		if program, _ := os.ReadFile(p.path("comm")); strings.TrimSpace(string(program)) == "coredns" && p.inPod() {
			servers = append(servers, p)
		}
	}
	if len(servers) == 0 {
		t.Fatal("no CoreDNS runs in a pod")
	}
	signal := func(signal syscall.Signal) {
		for _, server := range servers {
			if err := syscall.Kill(int(server), signal); err != nil {
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
