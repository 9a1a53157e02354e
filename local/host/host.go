// Package host checks the machine's requirements for the local platform, excludes concurrent runs that change it, and lists its
// processes.
package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// A first run fills the module cache, the build cache and the images: 12 GiB measured, plus 2 GiB for the running
	// platform. With the tools compiled, less is enough.
	coldDisk = 20 << 30
	warmDisk = 4 << 30
	// Compiling the API server takes 3 GiB at its peak, and the idle platform takes as much again. The node alone takes far less.
	wantMemory = 6 << 30
)

// Check returns an error that lists each reason why the platform, or only its node, can't run on this machine, or nil.
func Check(nodeOnly bool) error {
	var faults []error
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		faults = append(faults, fmt.Errorf("this is %s/%s: the local node runs on linux/amd64; use a cluster elsewhere with make up CONTEXT=<kube context> REGISTRY=<registry>",
			runtime.GOOS, runtime.GOARCH))
	}
	if os.Geteuid() != 0 {
		faults = append(faults, errors.New("not root: the local node creates network interfaces, mounts and cgroups; run it with sudo make up, or use a cluster elsewhere with make up CONTEXT=<kube context> REGISTRY=<registry>"))
	}
	if total, err := totalMemory(); err == nil && total < wantMemory && !nodeOnly {
		faults = append(faults, fmt.Errorf("this machine has %s of memory: compiling and running the platform takes %s", gib(total), gib(wantMemory)))
	}
	return errors.Join(faults...)
}

// CheckDisk returns an error that lists the disks with too little space, or nil. cold means that the tools aren't compiled
// yet; folders are those of the tools and of the node's data.
func CheckDisk(cold bool, folders ...string) error {
	var faults []error
	want := uint64(warmDisk)
	if cold {
		want = coldDisk
	}
	for _, folder := range folders {
		if free, err := freeDisk(folder); err == nil && free < want {
			faults = append(faults, fmt.Errorf("only %s are free on the disk of %s: %s are needed; free some (go clean -cache frees Go's build cache)",
				gib(free), folder, gib(want)))
		}
	}
	return errors.Join(faults...)
}

func gib(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

func totalMemory() (uint64, error) {
	var machine syscall.Sysinfo_t
	err := syscall.Sysinfo(&machine)
	return machine.Totalram * uint64(machine.Unit), err
}

// freeDisk returns the free bytes on the disk of the folder, which need not exist yet.
func freeDisk(folder string) (uint64, error) {
	for {
		var stat syscall.Statfs_t
		err := syscall.Statfs(folder, &stat)
		if err == nil {
			return stat.Bavail * uint64(stat.Bsize), nil
		}
		if !errors.Is(err, syscall.ENOENT) || folder == filepath.Dir(folder) {
			return 0, err
		}
		folder = filepath.Dir(folder)
	}
}

// Lock makes this run the only one that changes the platform, until the returned function is called. The kernel releases
// the lock when the process ends.
func Lock(path, command string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = file.Close()
		return nil, fmt.Errorf("%s is running: wait for it, or interrupt it first", strings.TrimSpace(string(holder)))
	}
	holder := fmt.Sprintf("make %s (process %d, since %s)\n", command, os.Getpid(), time.Now().Format(time.TimeOnly))
	_, err = file.WriteString(holder)
	if err := errors.Join(err, file.Truncate(int64(len(holder)))); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return func() { _ = file.Close() }, nil
}

// Processes returns the arguments of the machine's processes by their ids.
func Processes() map[int][]string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline") // fails only for a malformed pattern
	processes := map[int][]string{}
	for _, path := range paths {
		content, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			processes[pid] = strings.Split(strings.TrimRight(string(content), "\x00"), "\x00")
		}
	}
	return processes
}
