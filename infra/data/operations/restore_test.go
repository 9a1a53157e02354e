package operations

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakePulumi keeps each setting in a file of the folder settings, and records what it changes in calls.
const fakePulumi = `#!/bin/sh
set -eu
case "$1 $2" in
"config --stack") [ ! -e refused ] ;;
"config get") [ "$3" != --path ] || shift; cat "settings/$3" ;;
"config rm") rm "settings/$4"* && echo "remove $4" >>calls ;;
"config set-all")
	[ ! -e readonly ] || exit 1
	while [ $# -gt 1 ]; do
		[ "$1" != --plaintext ] || printf %s "${2#*=}" >"settings/${2%%=*}"
		shift
	done ;;
"stack --show-urns") echo "urn:pulumi:s::platform::kubernetes:postgresql.cnpg.io/v1:Cluster::postgres-2" ;;
"state unprotect") echo unprotect >>calls ;;
"up --yes") echo up >>calls ;;
esac
`

// fakeKubectl has the cluster 1, and 2 for each other number. The tables of a cluster are in the file that is named like its primary.
const fakeKubectl = `#!/bin/sh
echo "${KUBECONFIG:-} $*" >>commands
case "$*" in
*currentPrimary*) for word; do case $word in postgres-1) echo postgres-1-1 ;; postgres-*) echo postgres-2-1 ;; esac; done ;;
*jsonpath*) ;;
*pg_database*) echo orders ;;
*"exec postgres-"*) for word; do case $word in postgres-*) cat "$word" || exit ;; esac; done ;;
*configmap*) echo "$*" >>calls ;;
esac
`

// restoring returns a function that runs the restore script in a new folder, and returns what it prints, and a function that reads a file.
func restoring(t *testing.T, files map[string]string) (run func(args ...string) (string, error), read func(name string) string) {
	t.Helper()
	script, err := filepath.Abs("restore")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string]string{"pulumi": fakePulumi, "kubectl": fakeKubectl, "docs/recovery.md": "", "settings/none": "", "calls": "",
		"postgres-1-1": "orders.orders|5\n", "postgres-2-1": "orders.orders|5\n"} {
		if given, set := files[name]; set {
			content = given
		}
		files[name] = content
	}
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a folder of the test
			t.Fatal(err)
		}
		if content == "missing" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil { //nolint:gosec // some are programs
			t.Fatal(err)
		}
	}
	run = func(args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), script, append([]string{"s"}, args...)...)
		command.Dir, command.Env = folder, append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"))
		printed, err := command.CombinedOutput()
		return string(printed), err
	}
	read = func(name string) string {
		content, _ := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // a file of the test
		return string(content)
	}
	return run, read
}

func TestDrillRecordsTheTablesThatDiffer(t *testing.T) {
	for _, c := range []struct{ live, restored, want string }{
		{"orders.orders|5\n", "orders.orders|5\n", "differ from the live ones: 0 |"},
		{"orders.orders|5\n", "orders.orders|4\n", "differ from the live ones: 1 |"},
		{"orders.orders|5\norders.outbox|1\n", "orders.orders|5\n", "differ from the live ones: 1 |"},
		{"orders.orders|5\n", "missing", ""}, // a comparison that fails proves nothing
		{"missing", "orders.orders|5\n", ""},
	} {
		run, read := restoring(t, map[string]string{"postgres-1-1": c.live, "postgres-2-1": c.restored})
		printed, err := run("restore", "", "drill")
		if got := read("docs/recovery.md"); (err == nil) != (c.want != "") || !strings.Contains(got, c.want) || (c.want == "" && got != "") {
			t.Errorf("%+v: %v, %s\n%s", c, err, got, printed)
		}
	}
}

func TestRestoreContinuesOnlyTheSameMoment(t *testing.T) {
	run, read := restoring(t, map[string]string{})
	if printed, err := run("restore", "2026-11-28 14:03:00"); err == nil || !strings.Contains(printed, "confirm with CONFIRM=yes") {
		t.Fatalf("without an answer: %v, %s", err, printed)
	}
	for _, at := range []string{"2026-11-28 13:00:00", ""} {
		if printed, err := run("restore", at, "yes"); err == nil || !strings.Contains(printed, "a restore of 2026-11-28T14:03:00Z has begun") {
			t.Errorf("at %q: %v, %s", at, err, printed)
		}
	}
	if printed, err := run("restore", "2026-11-28 14:03:00", "yes"); err != nil {
		t.Errorf("at the same time: %v, %s", err, printed)
	}
	if live, beside := read("settings/platform:postgres.cluster"), read("settings/platform:postgres.beside[0]"); live != "2" || beside != "1" {
		t.Errorf("cluster %s serves and %s stays, want 2 and 1", live, beside)
	}
}

func TestInterruptedSwitchContinues(t *testing.T) {
	switched := map[string]string{"settings/platform:postgres.cluster": "2", "settings/platform:postgres.beside[0]": "1",
		"settings/platform:postgres.restore.cluster": "2", "settings/platform:postgres.restore.from": "1", "settings/platform:postgres.restore.at": "2026-11-28T14:03:00Z"}
	run, read := restoring(t, switched)
	if printed, err := run("restore", "2026-11-28 14:03:00", "yes"); err != nil || !strings.Contains(printed, "the services use postgres-2; postgres-1 keeps") || read("calls") != "up\n" {
		t.Errorf("%v, %s\n%s", err, printed, read("calls"))
	}
	for _, args := range [][]string{{"restore", "2026-11-28 15:00:00", "yes"}, {"restore", "2026-11-28 14:03:00", "drill"}} {
		if printed, err := run(args...); err == nil || !strings.Contains(printed, "keeps cluster 1 of an earlier restore") {
			t.Errorf("%v: %v, %s", args, err, printed)
		}
	}
}

func TestRestoreChangesNothingWithoutItsSettings(t *testing.T) {
	run, read := restoring(t, map[string]string{"readonly": ""})
	if printed, err := run("restore", "", "yes"); err == nil || strings.Contains(read("calls"), "up") {
		t.Errorf("%v, %s\n%s", err, printed, read("calls"))
	}
}

// An interruption before the setting is gone is repaired by the same command.
func TestForgottenClusterIsUnprotectedFirst(t *testing.T) {
	run, read := restoring(t, map[string]string{"settings/platform:postgres.cluster": "1", "settings/platform:postgres.beside[0]": "2"})
	if printed, err := run("forget"); err != nil || read("calls") != "unprotect\nremove platform:postgres.beside\nup\n" {
		t.Errorf("%v, %s\n%s", err, printed, read("calls"))
	}
}

func TestRestoreUsesTheClusterOfTheStack(t *testing.T) {
	settings := map[string]string{
		"settings/platform:kubeconfig": "own", "settings/platform:kubeContext": "theirs", "settings/platform:namespacePrefix": "shop-",
	}
	run, read := restoring(t, settings)
	printed, err := run("backup")
	commands := strings.TrimSpace(read("commands"))
	if err != nil || commands == "" {
		t.Fatalf("%v: %s", err, printed)
	}
	for line := range strings.SplitSeq(commands, "\n") {
		if !strings.HasPrefix(line, "own --context theirs --namespace shop-data ") {
			t.Errorf("kubectl %s", line)
		}
	}
	run, read = restoring(t, map[string]string{"refused": ""})
	if printed, err := run("backup"); err == nil || !strings.Contains(printed, "pulumi login") || read("commands") != "" {
		t.Errorf("without the configuration: %v, %s\n%s", err, printed, read("commands"))
	}
}
