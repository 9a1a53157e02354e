package node

import (
	"os"
	"path/filepath"
	"testing"
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
