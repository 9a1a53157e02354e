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

var cgroupRoot = "/sys/fs/cgroup"

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

// children is the file of a cgroup (v2) that changes the controllers of its children: +cpu adds one, -cpu removes it.
const children = "cgroup.subtree_control"

// procs is the file of a cgroup that lists its processes. Writing the ID of a process to it moves the process into the cgroup.
const procs = "cgroup.procs"

// withheld returns the controllers that a cgroup has but its children lack: systemd enables only the controllers that it uses. The kubelet
// requires nearly all of them in the cgroup of all pods, and runc enables the others.
func withheld(cgroup string) []string {
	all, _ := os.ReadFile(filepath.Join(cgroup, "cgroup.controllers")) // none with cgroup v1
	given, _ := os.ReadFile(filepath.Join(cgroup, children))
	return slices.DeleteFunc(strings.Fields(string(all)), func(name string) bool {
		return slices.Contains(strings.Fields(string(given)), name)
	})
}

// containerCgroup is the child of a container's root cgroup for the processes that were in the root itself.
const containerCgroup = "container"

// giveControllers gives a cgroup's controllers to its children. systemd can't remove a controller while the cgroup's own children have it.
func giveControllers(cgroup string) error {
	for _, controller := range withheld(cgroup) {
		file, add := filepath.Join(cgroup, children), "+"+controller
		err := writeExisting(file, add)
		if errors.Is(err, syscall.EBUSY) { // only the root of the machine may have both processes and controllers for its children
			if err = moveProcesses(cgroup, filepath.Join(cgroup, containerCgroup)); err == nil {
				err = writeExisting(file, add)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveProcesses moves the processes of a cgroup into another one, which it creates.
func moveProcesses(from, to string) error {
	pids, err := os.ReadFile(filepath.Join(from, procs))
	if err == nil {
		err = os.MkdirAll(to, 0o755)
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if moved := writeExisting(filepath.Join(to, procs), pid); !errors.Is(moved, syscall.ESRCH) { // ended meanwhile
			err = errors.Join(err, moved)
		}
	}
	return err
}

// makeCgroup creates the cgroup of all pods, which the kubelet expects to exist.
func makeCgroup(name string) error {
	folders, err := cgroupFolders(name)
	faults := []error{err}
	for _, folder := range folders {
		faults = append(faults, os.MkdirAll(folder, 0o755))
		if len(folders) == 1 { // beside cgroup v1, the cgroup (v2) has no controller that pods need
			faults = append(faults, giveControllers(filepath.Dir(folder)), giveControllers(folder))
		}
		// A new cpuset is empty, and no process can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(filepath.Dir(folder), file)); err == nil {
				faults = append(faults, writeExisting(filepath.Join(folder, file), string(all)))
			}
		}
		for file, one := range weights {
			faults = append(faults, writeExisting(filepath.Join(folder, file), strconv.Itoa(podShare*one)))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("cgroups: %w", err)
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

// emptyCgroup ends every process in the cgroup and its children within the grace period, kills the others, and removes the cgroup.
func emptyCgroup(name string, grace time.Duration) error {
	for started, signalled := time.Now(), false; ; time.Sleep(50 * time.Millisecond) {
		pids, err := processesIn(name)
		if err != nil {
			return err
		}
		var signal syscall.Signal // 0 sends none
		switch waited := time.Since(started); {
		case len(pids) == 0:
			return removeCgroup(name)
		case waited > grace+podKillLimit:
			return fmt.Errorf("processes %v of the node's pods did not end", pids)
		case waited >= grace:
			signal = syscall.SIGKILL
		case !signalled: // once, because some programs end at once after the second
			signal, signalled = syscall.SIGTERM, true
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// nested returns the folders of the cgroup and of its children, each before its own children.
func nested(name string) (all []string, err error) {
	folders, err := cgroupFolders(name)
	for _, folder := range folders {
		err = errors.Join(err, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return ignoreGone(err)
		}))
	}
	return all, err
}

// processesIn returns the processes in the cgroup and its children.
func processesIn(name string) (pids []int, err error) {
	folders, err := nested(name)
	for _, folder := range folders {
		content, readErr := os.ReadFile(filepath.Join(folder, procs))
		err = errors.Join(err, ignoreGone(readErr))
		for field := range strings.FieldsSeq(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 { // 0 is one of another container, and kill(2) takes it for this process group
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), err
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
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		folders, err := nested(name)
		for _, folder := range slices.Backward(folders) {
			if fault := syscall.Rmdir(folder); fault != nil && !errors.Is(fault, syscall.ENOENT) {
				err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", folder, fault))
			}
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
