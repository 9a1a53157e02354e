package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupFolders returns the folders of the cgroup with that name: one per controller with cgroup v1, a single one with v2.
func cgroupFolders(name string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(cgroupRoot, name)}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w; is %s mounted?", err, cgroupRoot)
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() { // links are aliases of joined controllers
			folders = append(folders, filepath.Join(cgroupRoot, entry.Name(), name))
		}
	}
	return folders, nil
}

// podShare is the CPU weight of all pods together, in multiples of the weight of one process beside them. A new cgroup has the
// weight of one process, so that a build or test on the machine would take half of the CPU from the platform.
const podShare = 8

// weights are the files of cgroup v1 and v2 that set a cgroup's CPU weight, each with the value for one process.
var weights = map[string]int{"cpu.shares": 1024, "cpu.weight": 100}

// makeCgroup creates the cgroup of all pods, which the kubelet expects to exist.
func makeCgroup(name string) error {
	folders, err := cgroupFolders(name)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("cgroups: %w", err)
		}
		// A new cpuset is empty, and no process can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(filepath.Dir(folder), file))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, file), all, 0o644)
			}
			if err != nil {
				return fmt.Errorf("cgroups: %w", err)
			}
		}
		for file, one := range weights {
			err := writeExisting(filepath.Join(folder, file), strconv.Itoa(podShare*one))
			if err != nil {
				return fmt.Errorf("cgroups: %w", err)
			}
		}
	}
	return nil
}

// writeExisting writes to a kernel file if it exists, which depends on the controllers.
func writeExisting(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

const (
	// A database needs time to write its data before it is killed.
	podStopGrace = 10 * time.Second
	podKillLimit = 20 * time.Second
)

// emptyCgroup kills every process in the cgroup and its children, then removes it.
func emptyCgroup(name string) error {
	for _, stage := range []struct {
		signal syscall.Signal
		within time.Duration
	}{{syscall.SIGTERM, podStopGrace}, {syscall.SIGKILL, podKillLimit}} {
		pids, err := processesIn(name)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, stage.signal)
		}
		for deadline := time.Now().Add(stage.within); len(pids) > 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if pids, err = processesIn(name); err != nil {
				return err
			}
		}
	}
	if pids, err := processesIn(name); err != nil || len(pids) > 0 {
		return fmt.Errorf("processes %v of the node's pods did not end: %w", pids, err)
	}
	return removeCgroup(name)
}

// processesIn returns the processes in the cgroup and its children.
func processesIn(name string) ([]int, error) {
	folders, err := cgroupFolders(name)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Name() != "cgroup.procs" {
				return ignoreGone(err)
			}
			content, err := os.ReadFile(path)
			for field := range strings.FieldsSeq(string(content)) {
				if pid, err := strconv.Atoi(field); err == nil {
					pids = append(pids, pid)
				}
			}
			return ignoreGone(err)
		})
		if err != nil {
			return nil, fmt.Errorf("cgroups: %w", err)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// ignoreGone ignores that a file doesn't exist: cgroups appear and disappear during the walk.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// removeCgroup removes the cgroup's folders, the innermost first. The kernel needs a moment to release a cgroup whose last
// process has just ended.
func removeCgroup(name string) error {
	folders, err := cgroupFolders(name)
	if err != nil {
		return err
	}
	var fault error
	for _, folder := range folders {
		var nested []string
		_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				nested = append(nested, path)
			}
			return nil
		})
		for _, path := range slices.Backward(nested) {
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				if err := syscall.Rmdir(path); err == nil || errors.Is(err, syscall.ENOENT) {
					break
				} else if time.Now().After(deadline) {
					fault = errors.Join(fault, fmt.Errorf("remove cgroup %s: %w", path, err))
					break
				}
			}
		}
	}
	return fault
}
