package node

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"platform.example/local/progress"
)

// systemctl lists the units in the file units, and records the ones that it disables.
const systemctl = `#!/bin/sh
cd "${0%/*}"
case $1 in
list-unit-files) sed 's/$/ enabled enabled/' units ;;
disable) shift; echo "$@" >disabled ;;
esac
`

func TestUnitsOfInstalledPackagesAreDisabled(t *testing.T) {
	folder := t.TempDir()
	units := filepath.Join(folder, "units")
	if err := os.WriteFile(filepath.Join(folder, "systemctl"), []byte(systemctl), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := os.WriteFile(units, []byte("ssh.service\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := enabledUnits()
	if err := os.WriteFile(units, []byte("docker.service\nssh.service\ndocker.socket\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	disableUnits(before)
	if disabled, err := os.ReadFile(filepath.Join(folder, "disabled")); string(disabled) != "docker.service docker.socket\n" {
		t.Errorf("disabled %q (%v), want only the new units", disabled, err)
	}
}

// apt records whether services may start while packages are installed.
const apt = `#!/bin/sh
cat "$POLICY" >"${0%/*}/during"
`

func TestServicesOfPackagesStayOff(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root installs packages")
	}
	const others = "#!/bin/sh\nexit 101\n"
	for name, c := range map[string]struct{ before, during, after string }{
		"no policy":             {"", policy, ""},
		"that of a killed run":  {policy, policy, ""},
		"that of somebody else": {others, others, others},
	} {
		folder := t.TempDir()
		defer func(before string) { policyFile = before }(policyFile)
		policyFile = filepath.Join(folder, "policy-rc.d")
		t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
		t.Setenv("POLICY", policyFile)
		for program, text := range map[string]string{"apt-get": apt, "systemctl": systemctl, "units": "", "policy-rc.d": c.before} {
			if text == "" && program != "units" {
				continue
			}
			if err := os.WriteFile(filepath.Join(folder, program), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := InstallPackages(t.Context(), progress.New(io.Discard), "no-such-package"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		during, _ := os.ReadFile(filepath.Join(folder, "during"))
		after, _ := os.ReadFile(policyFile)
		if string(during) != c.during || string(after) != c.after {
			t.Errorf("%s: %q while packages are installed and %q afterwards", name, during, after)
		}
	}
}

func TestAMissingPackageIsNamedToAUserWithoutRights(t *testing.T) {
	if os.Geteuid() == 0 {
		if err := syscall.Seteuid(65534); err != nil {
			t.Skipf("this machine doesn't let root switch to another user: %v", err)
		}
		defer func() {
			if err := syscall.Seteuid(0); err != nil {
				panic(err)
			}
		}()
	}
	err := InstallPackages(t.Context(), progress.New(io.Discard), "no-such-package")
	if err == nil || !strings.Contains(err.Error(), "lacks the Debian packages no-such-package: install them, or run make as root") {
		t.Errorf("got %v", err)
	}
}
