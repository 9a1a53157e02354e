package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// policyFile, when it exits with 101, keeps packages from starting their services
// (see invoke-rc.d(8)): the node runs its own containerd and Docker Engine.
const policyFile = "/usr/sbin/policy-rc.d"

// install installs Debian packages without starting any service.
func install(ctx context.Context, names []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install %s: this machine has no apt-get; the local node needs Debian 12 or later", strings.Join(names, " "))
	}
	if _, err := os.Stat(policyFile); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(policyFile, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return fmt.Errorf("install packages: %w", err)
		}
		defer os.Remove(policyFile)
	}
	args := append([]string{"install", "--yes", "--no-install-recommends"}, names...)
	if err := aptGet(ctx, args...); err == nil {
		return nil
	}
	// The lists may be missing or too old: fetch them and try once more.
	if err := aptGet(ctx, "update"); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(names, " "), err)
	}
	if err := aptGet(ctx, args...); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(names, " "), err)
	}
	return nil
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if output, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return nil
}
