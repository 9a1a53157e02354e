package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// holdLock makes the test binary hold a lock until it is killed: hold-lock <path>.
const holdLock = "hold-lock"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == holdLock {
		if _, err := Lock(os.Args[2], "up"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

func TestLockErrorNamesTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "platform.lock")
	unlock, err := Lock(path, "up")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(path, "down")
	want := fmt.Sprintf("make up (process %d, since ", os.Getpid())
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "is running: wait for it, or interrupt it first") {
		t.Errorf("second Lock: got %v, want %s...", err, want)
	}
	unlock()
	unlock, err = Lock(path, "stop")
	if err != nil {
		t.Fatalf("after the first holder released it: %v", err)
	}
	defer unlock()
	if _, err := Lock(path, "down"); err == nil || !strings.HasPrefix(err.Error(), "make stop (") {
		t.Errorf("the error doesn't name the current holder: %v", err)
	}
}

func TestLockOfAKilledRunIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "platform.lock")
	holder := exec.Command(os.Args[0], holdLock, path)
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	_, lockErr := Lock(path, "up")
	_ = holder.Process.Kill()
	_ = holder.Wait()
	if line != "held\n" || lockErr == nil || !strings.Contains(lockErr.Error(), fmt.Sprintf("process %d,", holder.Process.Pid)) {
		t.Fatalf("the other process prints %q; a second Lock returns: %v", line, lockErr)
	}
	unlock, err := Lock(path, "up")
	if err != nil {
		t.Fatalf("Lock after the holder was killed: %v", err)
	}
	unlock()
}

// full is a file system without a free byte on every Linux.
const full = "/proc"

func TestCheckDiskNamesTheFullDisk(t *testing.T) {
	for _, c := range []struct {
		cold bool
		want string
	}{{true, "20.0 GiB are needed"}, {false, "4.0 GiB are needed"}} {
		err := CheckDisk(c.cold, full)
		if err == nil || !strings.Contains(err.Error(), "only 0.0 GiB are free on the disk of "+full+": "+c.want) {
			t.Errorf("cold %v: %v", c.cold, err)
		}
	}
	if err := CheckDisk(true); err != nil {
		t.Errorf("without folders: %v", err)
	}
}

func TestCheckDiskNamesAllFullDisks(t *testing.T) {
	err := CheckDisk(true, full, full+"/self")
	if count := strings.Count(fmt.Sprint(err), "are free on the disk of"); count != 2 {
		t.Errorf("the error names %d of two disks: %v", count, err)
	}
}

func TestCheckRequiresRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		if err := Check(false); err != nil && strings.Contains(err.Error(), "not root") {
			t.Errorf("as root: %v", err)
		}
		if err := syscall.Seteuid(65534); err != nil {
			t.Skipf("this machine doesn't let root switch to another user: %v", err)
		}
		defer func() {
			if err := syscall.Seteuid(0); err != nil {
				panic(err)
			}
		}()
	}
	if err := Check(false); err == nil || !strings.Contains(err.Error(), "sudo make up") || !strings.Contains(err.Error(), "make up CONTEXT=") {
		t.Errorf("as another user: %v", err)
	}
}

func TestFreeDiskOfAMissingFolder(t *testing.T) {
	folder := t.TempDir()
	want, err := freeDisk(folder)
	if err != nil || want == 0 {
		t.Fatalf("%d bytes free in %s: %v", want, folder, err)
	}
	// Other processes write to the disk at the same time.
	const slack = 1 << 30
	got, err := freeDisk(filepath.Join(folder, "not", "yet"))
	if err != nil || max(got, want)-min(got, want) > slack {
		t.Errorf("%d bytes, want about %d: %v", got, want, err)
	}
	if free, err := freeDisk(filepath.Join(full, "not", "yet")); err != nil || free != 0 {
		t.Errorf("below %s: %d bytes, %v", full, free, err)
	}
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := freeDisk(filepath.Join(file, "below")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
}

func TestTotalMemoryMatchesTheKernel(t *testing.T) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	want := info.Totalram * uint64(info.Unit)
	if got, err := totalMemory(); err != nil || max(got, want)-min(got, want) > 64<<20 {
		t.Errorf("%s, want %s: %v", gib(got), gib(want), err)
	}
}

func TestLockFileContainsAReadableTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path, "up")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	content, _ := os.ReadFile(path)
	_, since, _ := strings.Cut(strings.TrimSuffix(string(content), ")\n"), "since ")
	if _, err := time.Parse(time.TimeOnly, since); err != nil {
		t.Errorf("the lock file contains %q: %v", content, err)
	}
}
