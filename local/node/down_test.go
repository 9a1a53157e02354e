package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"platform.example/local/layout"
	"platform.example/local/progress"
)

// unmountBelow makes the test binary mount and unmount: unmount-below <state>. It runs in its own mount namespace, so the
// machine doesn't see the mounts.
const unmountBelow = "unmount-below"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == unmountBelow {
		if err := mountAndUnmount(os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func mountAndUnmount(state string) error {
	n := New(layout.Layout{State: state}, nil, progress.New(io.Discard))
	outer, beside := n.path("with space"), n.layout.Node()+"-two"
	inner := filepath.Join(outer, "inner")
	for _, point := range []string{outer, inner, beside} {
		if err := os.MkdirAll(point, 0o700); err != nil {
			return err
		}
		if err := syscall.Mount("none", point, "tmpfs", 0, "size=64k"); err != nil {
			return err
		}
	}
	if err := expectMounts(n.layout.Node(), outer, inner); err != nil {
		return err
	}
	if err := n.unmount(); err != nil {
		return err
	}
	return expectMounts(state, beside)
}

func expectMounts(folder string, want ...string) error {
	got, err := mountsBelow(folder)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("mounts below %s: %q, want %q", folder, got, want)
	}
	return nil
}

func TestUnmountUnmountsEverythingBelowTheNode(t *testing.T) {
	cmd := exec.Command(os.Args[0], unmountBelow, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	output, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("no mount namespaces for this user")
	}
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

func TestMountsBelowMatchesTheKernel(t *testing.T) {
	mounts, err := mountsBelow("/nowhere")
	if err != nil || len(mounts) != 0 {
		t.Errorf("below a missing folder: %q, %v", mounts, err)
	}
	if mounts, err := mountsBelow(""); err != nil || !slices.Contains(mounts, "/proc") {
		t.Errorf("below the root: %q, %v", mounts, err)
	}
}

func TestAbsentSupervisorIsNoError(t *testing.T) {
	listener, socket := listen(t)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	_, refused := net.Dial("unix", socket)
	_, missing := net.Dial("unix", filepath.Join(t.TempDir(), "none"))
	for _, c := range []struct {
		err   error
		fault bool
	}{{nil, false}, {refused, false}, {missing, false}, {context.DeadlineExceeded, true}, {errors.New("500"), true}} {
		if got := ignoreAbsent(c.err); (got != nil) != c.fault {
			t.Errorf("%v: got %v, want an error: %v", c.err, got, c.fault)
		}
	}
}

func TestLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for count, want := range map[int]string{1: "three", 2: "two\nthree", 9: "one\ntwo\nthree"} {
		if got := lastLines(path, count); got != want {
			t.Errorf("the last %d: %q, want %q", count, got, want)
		}
	}
	if got := lastLines(path+".none", 2); !strings.Contains(got, "no such file") {
		t.Errorf("of a missing log: %q", got)
	}
}

// An interrupted request doesn't show whether the node runs: only the next run may clean up.
func TestInterruptedUpLeavesTheNodeAlone(t *testing.T) {
	n, _ := described(t)
	if err := os.MkdirAll(n.path("run"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Up(ctx, "", false, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("up: %v", err)
	}
	if _, err := os.Stat(n.path("run")); err != nil || len(n.workers()) > 0 {
		t.Errorf("an interrupted run changed the node: %v, %d workers", err, len(n.workers()))
	}
}
