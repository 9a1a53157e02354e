package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestCrashedComponentIsRestarted(t *testing.T) {
	const name = "kube-scheduler"
	before, err := kit.Status()
	if err != nil {
		t.Fatal(err)
	}
	victim := kit.Supervised(t)[name]
	if shown := before[name].PID; shown != int(victim) {
		t.Fatalf("make status shows process %[2]d for %[1]s, its pid file contains %[3]d", name, shown, victim)
	}
	// Don't kill another process that has this PID by now.
	program, err := os.Readlink(victim.Path("exe"))
	if err != nil || filepath.Base(program) != name {
		t.Fatalf("process %d is %q (%v), want %s", victim, program, err, name)
	}
	if err := syscall.Kill(int(victim), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	kit.Eventually(t, 2*time.Minute, name+" is healthy again", func() error {
		components, err := kit.Status()
		if err != nil {
			return err
		}
		after := components[name]
		if after.Health != "healthy" || after.PID == 0 || after.PID == int(victim) || after.Restarts != before[name].Restarts+1 {
			return fmt.Errorf("it is %q as process %d after %d restarts; it was process %d after %d",
				after.Health, after.PID, after.Restarts, victim, before[name].Restarts)
		}
		return nil
	})
}
