package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"platform.example/local/host"
)

// Stop ends all processes of the node and removes its mounts and network. The stored data is kept for the next start.
// Stop works from any state, including that of a killed run or of a restarted machine.
func (n *Node) Stop(ctx context.Context) error {
	// Without the kubelet, pods aren't restarted; with containerd still running, they can end cleanly.
	faults := []error{ignoreAbsent(n.supervisor.Stop(ctx, "kubelet"))}
	var ending errgroup.Group
	for _, worker := range n.workers() {
		ending.Go(func() error { return worker.end(ctx, podStopGrace) })
	}
	faults = append(faults, emptyCgroup(Name, podStopGrace), ending.Wait(), n.supervisor.Shutdown())
	n.endShims()
	faults = append(faults, emptyCgroup(Name, podStopGrace), n.unmount(), n.restoreMachine(ctx), os.RemoveAll(n.path("run")))
	return errors.Join(faults...)
}

// ignoreAbsent ignores that the supervisor doesn't run; Shutdown uses the pid files in that case.
func ignoreAbsent(err error) error {
	if err != nil && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) {
		return nil
	}
	return err
}

// Remove stops the node and deletes all of its data.
func (n *Node) Remove(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	return os.RemoveAll(n.layout.Node())
}

// endShims kills the shims of the node's containerd: by design, they outlive containerd.
func (n *Node) endShims() {
	for pid, args := range host.Processes() {
		if strings.HasSuffix(args[0], "containerd-shim-runc-v2") && slices.Contains(args, n.containerdSocket()) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// unmount unmounts every mount below the node's folder, the innermost first.
func (n *Node) unmount() error {
	var faults []error
	// A mount may hide others below it, so repeat until none is left.
	for range 5 {
		mounts, err := mountsBelow(n.path())
		if err != nil || len(mounts) == 0 {
			return err
		}
		faults = faults[:0]
		for _, mount := range slices.Backward(mounts) {
			if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
				faults = append(faults, fmt.Errorf("unmount %s: %w", mount, err))
			}
		}
	}
	return errors.Join(faults...)
}

// mountsBelow returns the mount points below the folder from /proc/self/mountinfo, in the order of mounting.
func mountsBelow(folder string) ([]string, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	for line := range strings.Lines(string(content)) {
		// proc(5): the fifth field is the mount point, with spaces written as \040.
		fields := strings.Fields(line)
		if point := strings.ReplaceAll(fields[4], `\040`, " "); strings.HasPrefix(point, folder+"/") {
			mounts = append(mounts, point)
		}
	}
	return mounts, nil
}
