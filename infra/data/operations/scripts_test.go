package operations

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs are the programs that a script of this folder finds on PATH before those of the machine.
type programs struct {
	t      *testing.T
	folder string // the working folder; $LOG is the file log in it
}

func newPrograms(t *testing.T, scripts map[string]string) programs {
	t.Helper()
	p := programs{t, t.TempDir()}
	p.write("log", "")
	for name, script := range scripts {
		p.write("bin/"+name, "#!/bin/sh\n"+script)
	}
	return p
}

func (p programs) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.folder, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err = errors.Join(err, os.WriteFile(path, []byte(content), 0o700)); err != nil { //nolint:gosec // a program
		p.t.Fatal(err)
	}
}

func (p programs) read(name string) string {
	p.t.Helper()
	content, err := os.ReadFile(filepath.Join(p.folder, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(content)
}

// run runs a script of this folder with further variables, and returns what it prints.
func (p programs) run(variables []string, script string, arguments ...string) (string, error) {
	p.t.Helper()
	path, err := filepath.Abs(script)
	if err != nil {
		p.t.Fatal(err)
	}
	command := exec.CommandContext(p.t.Context(), path, arguments...)
	command.Dir = p.folder
	command.Env = append([]string{"PATH=" + filepath.Join(p.folder, "bin") + ":" + os.Getenv("PATH"), "LOG=" + filepath.Join(p.folder, "log")}, variables...)
	printed, err := command.CombinedOutput()
	return string(printed), err
}

// refused runs a script that must fail with this error, and print no secret.
func (p programs) refused(want string, variables []string, script string, arguments ...string) {
	p.t.Helper()
	printed, err := p.run(variables, script, arguments...)
	if err == nil || !strings.HasPrefix(printed, "error: ") || !strings.Contains(printed, want) || strings.Contains(printed, "secret-") {
		p.t.Errorf("%s %q: %v\n%swant %q", script, arguments, err, printed, want)
	}
}

const (
	dataPulumi  = `case "$*" in "config --stack "*) ;; *kubeContext*) echo this ;; *namespacePrefix*) echo shop- ;; *) exit 1 ;; esac`
	dataKubectl = `case "$*" in
"--context this --namespace shop-data "*) ;;
*) echo "not the cluster of the stack: $*" >&2; exit 1 ;;
esac
shift 4
case "$*" in
"get "*phaseReason*) printf %s "$STATE" ;;
"get "*currentPrimary*) printf postgres-1-1 ;;
patch*) echo "$*" >>"$LOG"; [ -z "$BUSY" ] && echo postgres-1-2 >primary ;;
wait*) echo "$1 $2" >>"$LOG" ;;
exec*) export POD="$2"; shift 5; exec "$@" ;;
esac`
	// Its archive lacks one file at first.
	dataPsql = `case "$*" in
*pg_stat_replication*) printf %s "$STANDBY" ;;
*CHECKPOINT*) echo CHECKPOINT >>"$LOG"; [ -z "$BROKEN" ] ;;
*pg_switch_wal*) echo pg_switch_wal >>"$LOG" ;;
*pg_ls_archive_statusdir*) if [ -e archived ]; then echo archived >>"$LOG"; echo 0; else touch archived; echo 1; fi ;;
*pg_current_xact_id*) [ "$(cat primary 2>/dev/null || echo postgres-1-1)" = "$POD" ] ;;
esac`
	healthyCluster = "STATE=3|postgres-1-1|postgres-1-1|Cluster in healthy state|"
)

func TestSwitchover(t *testing.T) {
	t.Parallel()
	fakes := newPrograms(t, map[string]string{"pulumi": dataPulumi, "kubectl": dataKubectl, "psql": dataPsql})
	printed, err := fakes.run([]string{healthyCluster, "STANDBY=postgres-1-2|0"}, "switchover", "dev")
	if err != nil || !strings.HasPrefix(printed, "postgres-1-2 is the primary of postgres-1; writes were refused for about ") ||
		!strings.HasSuffix(printed, " s\npostgres-1-1 is a standby\n") {
		t.Errorf("%v\n%s", err, printed)
	}
	log := fakes.read("log")
	at := -1
	for _, step := range []string{
		"CHECKPOINT\n", "pg_switch_wal\n", "archived\n",
		`patch clusters.postgresql.cnpg.io/postgres-1 --subresource=status`, `"test", "path": "/status/targetPrimary", "value": "postgres-1-1"`,
		`"/status/targetPrimary", "value": "postgres-1-2"`, "wait pod/postgres-1-2\n", "wait clusters.postgresql.cnpg.io/postgres-1\n",
	} {
		next := strings.Index(log, step)
		if next <= at {
			t.Errorf("%q isn't the next step: %s", step, log)
		}
		at = next
	}
}

func TestSwitchoverIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ variable, standby, want string }{
		{"STATE=1|postgres-1-1|postgres-1-1|Cluster in healthy state|", "", "postgres-1 has one instance, and no standby"},
		{"STATE=3|postgres-1-1|postgres-1-1|Failing over|Failing over from postgres-1-1", "", "postgres-1 isn't healthy: Failing over, Failing over from postgres-1-1: "},
		{"STATE=3|postgres-1-1|postgres-1-2|Cluster in healthy state|", "", "postgres-1 isn't healthy"},
		{healthyCluster, "", "no standby of postgres-1 streams from postgres-1-1: "},
		{healthyCluster, "postgres-1-2|17", "the best standby, postgres-1-2, lags 17 MiB behind postgres-1-1: want at most 16 MiB"},
		{"BROKEN=1", "postgres-1-2|0", "postgres-1-1 doesn't get its log into the archive"},
		{"BUSY=1", "postgres-1-2|0", "postgres-1 refuses the switch to postgres-1-2"},
	} {
		fakes := newPrograms(t, map[string]string{"pulumi": dataPulumi, "kubectl": dataKubectl, "psql": dataPsql})
		fakes.refused("error: stack dev: "+test.want, []string{healthyCluster, "STANDBY=" + test.standby, test.variable}, "switchover", "dev")
		if log := fakes.read("log"); test.variable != "BUSY=1" && strings.Contains(log, "patch") {
			t.Errorf("%s: it switches: %s", test.want, log)
		}
	}
}

// The times of a restore are read on any system.
func TestRestoreReadsTheTime(t *testing.T) {
	t.Parallel()
	const pulumi = `case "$*" in
"config --stack "*) ;;
*"config get"*kubeContext*) echo this ;;
*"config set"*) echo "$*" >>"$LOG" ;;
*) exit 1 ;;
esac`
	const bsd = `case "$*" in
"-u -d"*) echo "date: illegal option -- d" >&2; exit 1 ;;
"-u -j -f "*) exec /bin/date -u -d "$5" "$6" ;;
*) exec /bin/date "$@" ;;
esac`
	for name, date := range map[string]string{"GNU": `exec /bin/date "$@"`, "BSD": bsd} {
		fakes := newPrograms(t, map[string]string{"pulumi": pulumi, "date": date, "kubectl": `echo 2026-11-27T02:30:00Z`})
		for at, want := range map[string]string{
			"teatime":             "AT=teatime: want a time in UTC such as '2026-11-28 14:03:00'",
			"2126-11-28 14:03:00": "AT=2126-11-28 14:03:00: is in the future",
			"2026-11-27 02:29:59": "AT=2026-11-27 02:29:59: the first backup ended at 2026-11-27T02:30:00Z: want a later time",
		} {
			fakes.refused(want, nil, "restore", "dev", "restore", at)
		}
		if log := fakes.read("log"); log != "" {
			t.Errorf("%s: a refused time changes the configuration: %s", name, log)
		}
		printed, err := fakes.run(nil, "restore", "dev", "restore", "2026-11-27 02:30:00", "yes") // stops at the update
		if log := fakes.read("log"); err == nil || !strings.Contains(log, "platform:postgres.restore.at=2026-11-27T02:30:00Z ") {
			t.Errorf("%s: %v\n%s%s", name, err, printed, log)
		}
	}
}

func TestEscrow(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("age"); err != nil {
		t.Skip("needs age: apt-get install age")
	}
	const pulumi = `case "$*" in
"stack export --stack dev") echo "{}" ;;
*postgresAdminPassword*) [ "$PULUMI_CONFIG_PASSPHRASE" = secret-phrase ] && echo secret-password ;;
*backupCredentials*) echo id:secret-key ;;
*backup.bucket*) echo s3://backups/shop ;;
*) exit 1 ;;
esac`
	fakes := newPrograms(t, map[string]string{"pulumi": pulumi})
	const configuration = "encryptionsalt: v1:abc\nconfig:\n  platform:jwtKeys: {secure: v1:def}\n"
	fakes.write("Pulumi.dev.yaml", configuration)
	for _, name := range []string{"private", "other"} {
		command := exec.CommandContext(t.Context(), "sh", "-c", "age-keygen >"+name+" 2>/dev/null && age-keygen -y "+name+" >"+name+".pub")
		command.Dir = fakes.folder
		if printed, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
	}
	phrase := []string{"PULUMI_CONFIG_PASSPHRASE=secret-phrase"}
	fakes.write("ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\n")
	fakes.write("note", "age is a program\n")
	fakes.write("typo", "age1typo\n")
	for keys, want := range map[string]string{
		"": "TO is missing: make escrow STACK=dev TO=<file", "nowhere": "TO=nowhere: can't be read", "private": "TO=private: contains a private key",
		"ssh": "TO=ssh: contains a private key", "note": "TO=note: contains no public key", "typo": `TO=typo: failed to parse recipient file "typo"`,
	} {
		fakes.refused(want, phrase, "escrow", "write", "dev", keys, "")
	}
	fakes.refused("stack dev: want PULUMI_CONFIG_PASSPHRASE or", nil, "escrow", "write", "dev", "private.pub", "")
	fakes.refused("stack dev: its secrets can't be read", []string{"PULUMI_CONFIG_PASSPHRASE=other"}, "escrow", "write", "dev", "private.pub", "")
	fakes.refused("stack test: no Pulumi.test.yaml here", phrase, "escrow", "write", "test", "private.pub", "")
	if written, _ := filepath.Glob(filepath.Join(fakes.folder, ".build/escrow/*")); len(written) > 0 {
		t.Errorf("a refused call leaves %v", written)
	}

	printed, err := fakes.run(phrase, "escrow", "write", "dev", "private.pub", "")
	written, _ := filepath.Glob(filepath.Join(fakes.folder, ".build/escrow/dev-*.age"))
	if err != nil || len(written) != 1 || strings.Contains(printed, "secret-") {
		t.Fatalf("%v\n%s%v", err, printed, written)
	}
	escrow := strings.TrimPrefix(written[0], fakes.folder+"/")
	if info, err := os.Stat(written[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
	printed, err = fakes.run(nil, "escrow", "check", escrow, "private")
	for _, name := range []string{"Pulumi.dev.yaml", "README", "object-store", "passphrase", "state.json", "the checksums match"} {
		if err != nil || !strings.Contains(printed, name) || strings.Contains(printed, "secret-") {
			t.Errorf("%v\n%s", err, printed)
		}
	}
	decrypted, err := exec.CommandContext(t.Context(), "sh", "-c", `age -d -i "$1/private" "$2" | tar -xO ./Pulumi.dev.yaml ./passphrase ./object-store`,
		"sh", fakes.folder, written[0]).Output()
	for _, part := range []string{configuration, "secret-phrase", "bucket: s3://backups/shop\n", ": id:secret-key\n"} {
		if err != nil || !strings.Contains(string(decrypted), part) {
			t.Errorf("%v: %s", err, decrypted)
		}
	}

	content := fakes.read(escrow)
	if strings.Contains(content, "secret-") {
		t.Error("it isn't encrypted")
	}
	fakes.write("cut", content[:len(content)/2])
	fakes.write("changed", content[:len(content)-1]+string(content[len(content)-1]^1))
	for name, want := range map[string]string{
		"cut": "FILE=cut: damaged", "changed": "FILE=changed: damaged", "note": "FILE=note: damaged, or no file of make escrow", "none": "none: can't be read",
	} {
		fakes.refused(want, nil, "escrow", "check", name, "private")
	}
	fakes.refused("KEY=other: none of the keys in TO belongs to this one", nil, "escrow", "check", escrow, "other")
	fakes.refused("KEY=private.pub: ", nil, "escrow", "check", escrow, "private.pub")
	fakes.refused("make escrow-check FILE=<file> KEY=<file", nil, "escrow", "check", "", "")
	if left, _ := filepath.Glob("/dev/shm/escrow.*"); len(left) > 0 {
		if info, err := os.Stat(left[0]); err == nil && time.Since(info.ModTime()) < time.Minute {
			t.Errorf("plain files stay in %v", left)
		}
	}
}

const (
	upgradePulumi = `case "$*" in
"config --stack "*) ;;
*"config get"*kubeContext*) echo this ;;
*"config get"*postgres.version*) cat version 2>/dev/null ;;
*"config get"*postgres.beside*) printf %s "$BESIDE" ;;
*"config set"*postgres.version*) echo "$5" >version; echo "version $5" >>"$LOG" ;;
*) exit 1 ;;
esac`
	// The operator upgrades within the time of the update, unless its Job fails.
	upgradeKubectl = `shift 4
served=$(cat served 2>/dev/null || echo 15)
case "$*" in
*lastSuccessfulBackup*) printf '%s|%s|%s' "$served" "${PHASE:-Cluster in healthy state}" "${LAST-2026-11-30T02:30:00Z}" ;;
*imageName*) cat image 2>/dev/null || : ;;
*majorVersion*) printf %s "$served" ;;
*status.phase*) printf 'Cluster in healthy state' ;;
*currentPrimary*) printf postgres-1-1 ;;
*"get jobs"*) [ -z "$FAILS" ] || [ "$served" = "$(cat version)" ] || printf 1 ;;
logs*) echo 'could not load library' ;;
create*) cat >/dev/null; echo backup >>"$LOG" ;;
exec*) shift 5; case "$*" in
	*interval*) echo "${RECENT-t}" ;;
	*datname*) echo orders ;;
	*count*) echo "orders.orders|$([ "$served" = 17 ] && echo "${ROWS-7}" || echo 7)" ;;
	vacuumdb*) echo vacuumdb >>"$LOG" ;;
	esac ;;
esac`
	upgradeUpdate = `echo update >>"$LOG"; [ -n "$BROKEN" ] && exit 1; cat version >image; [ -n "$FAILS" ] || cat version >served; exit ${SLOW:-0}`
)

func TestUpgrade(t *testing.T) {
	t.Parallel()
	const back = "version 17\nupdate\nversion 15\n"
	for _, test := range []struct{ name, variable, to, want, log string }{
		{"to the next version", "", "17", "upgraded postgres-1 from 15 to 17 in ", "backup\nversion 17\nupdate\nupdate\nvacuumdb\nbackup\n"},
		{"without a version", "", "", "error: TO is missing: make postgres-upgrade STACK=dev TO=<major version>", ""},
		{"to an unknown version", "", "99", "error: TO=99: want 15 or 17", ""},
		{"to the same version", "", "15", "error: TO=15: postgres-1 has this version already", ""},
		{"of a cluster that isn't healthy", "PHASE=Failing over", "17", "error: stack dev: postgres-1 isn't healthy: Failing over: ", ""},
		{"without a backup", "LAST=", "17", "error: stack dev: no backup of postgres-1 within a day (the last: none): run `make backup STACK=dev`", ""},
		{"with an old backup", "RECENT=f", "17", "error: stack dev: no backup of postgres-1 within a day (the last: 2026-11-30T02:30:00Z)", ""},
		{"with a restored cluster", "BESIDE=2", "17", "error: stack dev keeps cluster 2 of an earlier restore", ""},
		{"with an update that fails at once", "BROKEN=1", "17", "which serves as before", "backup\n" + back},
		{"with an update that doesn't wait", "SLOW=1", "17", "this command does\n", "backup\nversion 17\nupdate\nupdate\n"},
		{"with a failing pg_upgrade", "FAILS=1", "17", "error: stack dev: pg_upgrade failed (its log is above): version 15 starts again", "backup\n" + back + "update\n"},
		{"that loses rows", "ROWS=0", "17", "error: stack dev: tables that have no rows any more: orders.orders", "backup\nversion 17\nupdate\nupdate\nvacuumdb\nbackup\n"},
	} {
		fakes := newPrograms(t, map[string]string{"pulumi": upgradePulumi, "kubectl": upgradeKubectl, "sleep": "", "update": upgradeUpdate})
		printed, err := fakes.run([]string{test.variable}, "upgrade", "dev", test.to, "update")
		if log := fakes.read("log"); !strings.Contains(printed, test.want) || log != test.log || (err == nil) != (test.name == "to the next version") {
			t.Errorf("%s: %v\n%s%s", test.name, err, printed, log)
		}
		if test.name != "to the next version" {
			continue
		}
		if !strings.Contains(printed, "version 15 version 17\norders.orders                                         7          7\n") {
			t.Errorf("it doesn't compare the rows: %s", printed)
		}
		fakes.refused("TO=15: postgres-1 has version 17, and data of a later version can't be read by an earlier one", nil, "upgrade", "dev", "15", "update")
		fakes.refused("TO=17: postgres-1 has this version already", nil, "upgrade", "dev", "17", "update")
	}
}

func TestAnInterruptedUpgradeContinues(t *testing.T) {
	t.Parallel()
	fakes := newPrograms(t, map[string]string{"pulumi": upgradePulumi, "kubectl": upgradeKubectl, "sleep": "", "update": upgradeUpdate})
	fakes.write("version", "17\n")
	printed, err := fakes.run([]string{"PHASE=Upgrading Postgres major version", "LAST="}, "upgrade", "dev", "17", "update")
	if log := fakes.read("log"); err != nil || log != "version 17\nupdate\nupdate\nvacuumdb\nbackup\n" {
		t.Errorf("%v\n%s%s", err, printed, log)
	}
}
