package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestConcurrentChangeIsRefused(t *testing.T) {
	file, err := os.OpenFile("/run/lock/platform.lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	kit.Eventually(t, 5*time.Minute, "no other change is running", func() error {
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	holder := fmt.Sprintf("make up (process %d, since %s)", os.Getpid(), time.Now().Format(time.TimeOnly))
	if err := file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte(holder+"\n"), 0); err != nil {
		t.Fatal(err)
	}

	printed, err := kit.Run("make", "-s", "up")
	if err == nil {
		t.Fatal("make up runs")
	}
	if want := holder + " is running"; !strings.Contains(err.Error(), want) {
		t.Errorf("make up fails with %q, want %q", err, want)
	}
	if printed != "" {
		t.Errorf("make up does work before it is refused: %s", printed)
	}
}
