package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestCrashedComponentIsRestarted(t *testing.T) {
	const name = "kube-scheduler"
	before, err := status()
	if err != nil {
		t.Fatal(err)
	}
	victim := supervised(t)[name]
	if shown := before[name].pid; shown != int(victim) {
		t.Fatalf("make status shows process %[2]d for %[1]s, its pid file contains %[3]d", name, shown, victim)
	}
	// Don't kill another process that has this PID by now.
	program, err := os.Readlink(victim.path("exe"))
	if err != nil || filepath.Base(program) != name {
		t.Fatalf("process %d is %q (%v), want %s", victim, program, err, name)
	}
	if err := syscall.Kill(int(victim), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	eventually(t, 2*time.Minute, name+" is healthy again", func() error {
		components, err := status()
		if err != nil {
			return err
		}
		after := components[name]
		if after.health != "healthy" || after.pid == 0 || after.pid == int(victim) || after.restarts != before[name].restarts+1 {
			return fmt.Errorf("it is %q as process %d after %d restarts; it was process %d after %d",
				after.health, after.pid, after.restarts, victim, before[name].restarts)
		}
		return nil
	})
}
