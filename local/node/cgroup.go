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

// cgroupFolders are the folders of the cgroup of that name: one per controller
// with cgroup v1, a single one with v2.
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
		if entry.IsDir() { // links are second names of joined controllers
			folders = append(folders, filepath.Join(cgroupRoot, entry.Name(), name))
		}
	}
	return folders, nil
}

// podShare is how much of a busy CPU all pods together get, in multiples of what one process beside them gets. New cgroups
// get as much as one: every build and every test on the machine would then take half of the platform away.
const podShare = 8

// weights are the files that say how much of a busy CPU a cgroup gets, and what stands for one process in them: of
// cgroup v1 and of v2.
var weights = map[string]int{"cpu.shares": 1024, "cpu.weight": 100}

// makeCgroup makes the cgroup that holds all pods. The kubelet wants it to exist.
func makeCgroup(name string) error {
	folders, err := cgroupFolders(name)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("cgroups: %w", err)
		}
		// A new cpuset is empty, and nothing can run in it.
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

// writeExisting writes to a file of the kernel's if there is one: which there are depends on the controllers.
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
	// A database wants to write what it holds before it is killed.
	podStopGrace = 10 * time.Second
	podKillLimit = 20 * time.Second
)

// emptyCgroup ends every process in the cgroup and below, then removes it.
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

// processesIn lists the processes in the cgroup and below.
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

// ignoreGone: cgroups come and go while they are walked.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// removeCgroup removes the cgroup's folders, the innermost first. The kernel takes
// a moment to let go of a cgroup whose last process has just ended.
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
