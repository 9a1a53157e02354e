package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"platform.example/local/progress"
)

// policyFile, when it exits with 101, keeps packages from starting their services
// (see invoke-rc.d(8)): the node runs its own containerd and Docker Engine.
const policyFile = "/usr/sbin/policy-rc.d"

// InstallPackages installs the Debian packages that are missing, without starting any service.
func InstallPackages(ctx context.Context, log *progress.Log, names ...string) error {
	names = slices.DeleteFunc(slices.Clone(names), installed)
	if len(names) == 0 {
		return nil
	}
	log.Say("installing Debian packages: %s", strings.Join(names, " "))
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

// programs show that a package is there, or another one that does the same.
var programs = map[string]string{
	"conntrack":                   "conntrack",
	"containerd":                  "containerd",
	"containernetworking-plugins": "/usr/lib/cni/bridge",
	"docker.io":                   "dockerd",
	"ipset":                       "ipset",
	"iproute2":                    "ip",
	"iptables":                    "iptables",
	"mmdebstrap":                  "mmdebstrap",
	"postgresql-15":               "/usr/lib/postgresql/15/bin/postgres",
	"redis-server":                "redis-server",
	"runc":                        "runc",
}

func installed(name string) bool {
	_, err := exec.LookPath(programs[name])
	return err == nil
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
