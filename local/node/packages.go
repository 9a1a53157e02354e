package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"platform.example/local/progress"
)

// policyFile keeps packages from starting their services while it exits with 101 (invoke-rc.d(8)), because the node runs its
// own containerd and Docker Engine.
var policyFile = "/usr/sbin/policy-rc.d"

const policy = "#!/bin/sh\n# made by make up, which deletes it\nexit 101\n"

// InstallPackages installs the missing ones of the Debian packages. Their services start neither now nor with the machine.
func InstallPackages(ctx context.Context, log *progress.Log, names ...string) error {
	names = slices.DeleteFunc(slices.Clone(names), installed)
	if len(names) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install %s: this machine has no apt-get; the local node needs Debian 12 or later", strings.Join(names, " "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("this machine lacks the Debian packages %s: install them, or run make as root", strings.Join(names, " "))
	}
	if current, err := os.ReadFile(policyFile); errors.Is(err, os.ErrNotExist) || string(current) == policy { // or a killed run has left it
		if err := os.WriteFile(policyFile, []byte(policy), 0o755); err != nil {
			return fmt.Errorf("install packages: %w", err)
		}
		defer os.Remove(policyFile)
	}
	log.Say("installing Debian packages: %s", strings.Join(names, " "))
	defer disableUnits(enabledUnits())
	install := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, names...)
	if err := runPackageTool(install...); err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	// The package lists may be missing or too old, or a previous installation was interrupted: fix both and retry once.
	for _, command := range [][]string{{"dpkg", "--configure", "-a"}, {"apt-get", "update"}, install} {
		if err := runPackageTool(command...); err != nil {
			return fmt.Errorf("install %s: %w", strings.Join(names, " "), err)
		}
	}
	return ctx.Err()
}

// enabledUnits returns the units that systemd starts with the machine.
func enabledUnits() []string {
	list, _ := exec.Command("sh", "-c", "systemctl list-unit-files --state=enabled --plain --no-legend | cut -d' ' -f1").Output()
	return strings.Fields(string(list))
}

// disableUnits disables the units that were enabled since, which the scripts of Debian packages do.
func disableUnits(before []string) {
	since := slices.DeleteFunc(enabledUnits(), func(unit string) bool { return slices.Contains(before, unit) })
	_ = exec.Command("systemctl", append([]string{"disable"}, since...)...).Run()
}

// programs maps a package to a program that shows that the package, or a replacement, is installed.
var programs = map[string]string{
	"age":                         "age",
	"conntrack":                   "conntrack",
	"containerd":                  "containerd",
	"containernetworking-plugins": "/usr/lib/cni/bridge",
	"docker.io":                   "dockerd",
	"ipset":                       "ipset",
	"iproute2":                    "ip",
	"iptables":                    "iptables",
	"jq":                          "jq",
	"mmdebstrap":                  "mmdebstrap",
	"nginx-light":                 "/usr/sbin/nginx",
	"pgbouncer":                   "/usr/sbin/pgbouncer",
	"postgresql-15":               "/usr/lib/postgresql/15/bin/postgres",
	"redis-server":                "redis-server",
	"runc":                        "runc",
	"wrk":                         "wrk",
}

func installed(name string) bool {
	_, err := exec.LookPath(programs[name])
	return err == nil
}

// runPackageTool lets the tool finish even after an interrupt: an installation that takes a few seconds longer is better
// than an incomplete one.
func runPackageTool(command ...string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if output, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("%s %s: %w: %s", command[0], command[1], err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return nil
}
