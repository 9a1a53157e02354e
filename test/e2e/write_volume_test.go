package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

const streamClaim = "persistentvolumeclaim/data-redis-stream-0"

// A full volume grows as its runbook describes: in place, under a running server. A claim can't shrink, so the stack keeps the
// new size.
func TestVolumeFullRunbookExpandsTheVolume(t *testing.T) {
	commands := blocks(t, "VolumeFull")[0]
	if !strings.Contains(commands, "stream.volumeSize 30Gi") || !strings.Contains(commands, "pulumi up --stack <stack>") {
		t.Fatalf("the runbook's commands differ from those in this test: %s", commands)
	}
	read := func(object, path string) string {
		return kit.Output(t, "kubectl", "get", object, "--namespace=data", "--output=jsonpath={"+path+"}")
	}
	requested, inMiB := strings.CutSuffix(read(streamClaim, ".spec.resources.requests.storage"), "Mi")
	if !inMiB { // Kubernetes writes 1024Mi as 1Gi
		gib, err := strconv.Atoi(strings.TrimSuffix(requested, "Gi"))
		if err != nil {
			t.Fatalf("the claim requests %s", requested)
		}
		requested = strconv.Itoa(1024 * gib)
	}
	mib, err := strconv.Atoi(requested)
	if err != nil {
		t.Fatal(err)
	}
	const server, pod = "statefulset/redis-stream", "pod/redis-stream-0"
	before := read(server, ".metadata.uid") + read(pod, ".metadata.uid") + read(streamClaim, ".metadata.uid")
	script := func(mib int) string {
		return local(strings.ReplaceAll(commands, "30Gi", fmt.Sprintf("%dMi", mib)))
	}
	if printed, err := kit.Run("bash", "-e", "-c", script(mib+1)); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for _, path := range []string{".spec.resources.requests.storage", ".status.capacity.storage"} {
		if got, want := read(streamClaim, path), fmt.Sprintf("%dMi", mib+1); got != want {
			t.Errorf("the claim has %s %s, want %s", path, got, want)
		}
	}
	if after := read(server, ".metadata.uid") + read(pod, ".metadata.uid") + read(streamClaim, ".metadata.uid"); after != before {
		t.Error("the server or its claim was replaced")
	}
	printed, err := kit.Run("bash", "-e", "-c", "("+script(mib)+") 2>&1")
	if err == nil || !strings.Contains(printed, "can't shrink") {
		t.Errorf("a smaller size: %v\n%s", err, printed)
	}
	kit.Output(t, "pulumi", "config", "set", "--path", "platform:stream.volumeSize", fmt.Sprintf("%dMi", mib+1), "--stack", "local")
}

// A lost volume is replaced as its runbook describes: Postgres continues with its archive, and redis-stream with the events of the
// outbox.
func TestVolumeLostRunbookReplacesVolumes(t *testing.T) {
	steps := blocks(t, "VolumeLost")
	if len(steps) != 4 {
		t.Fatalf("the runbook has %d blocks of commands, want 4", len(steps))
	}
	replace, loseInstance, restore, renew := steps[0], steps[1], steps[2], steps[3]
	run := func(commands string, values ...string) {
		t.Helper()
		commands = local(strings.NewReplacer(values...).Replace(commands))
		if printed, err := kit.RunIn(kit.Root, "set -e -o pipefail\n"+commands); err != nil {
			t.Fatalf("%s\n%v\n%s", commands, err, printed)
		}
	}

	api := kit.Gateway()
	user := api.SignUp(t)
	token := api.MustSignIn(t, user)
	place := func() kit.Order {
		t.Helper()
		placed, err := api.Order(token, rand.Text())
		if err != nil {
			t.Fatal(err)
		}
		return placed
	}
	orders := []kit.Order{place()}
	api.AwaitNotifications(t, token, "order.created", orders...)

	live := kit.LiveDeployment(t, "notification-service")
	consumer, colour := "deployment/"+live, strings.TrimPrefix(live, "notification-service-")
	t.Cleanup(func() { kit.Scale(t, "apps", consumer, 1) })
	kit.Scale(t, "apps", consumer, 0)
	kit.Output(t, "kubectl", "wait", "pod", "--namespace=apps", "--selector=app.kubernetes.io/name=notification-service,colour="+colour, "--for=delete", "--timeout=2m")
	orders = append(orders, place())
	kit.Eventually(t, time.Minute, "the event is in the stream", func() error {
		if left := shell(t, `in_postgres orders "SELECT 'unpublished: ' || count(*) FROM outbox WHERE published_at IS NULL"`); !strings.Contains(left, "unpublished: 0") {
			return errors.New(left)
		}
		return nil
	})
	volume := func() string {
		return kit.Output(t, "kubectl", "get", streamClaim, "--namespace=data", "--output=jsonpath={.spec.volumeName}")
	}
	before := volume()
	run(replace, "<namespace>", "data", "<server>", "redis-stream") // with an event that no consumer has read
	if after := volume(); after == before || after == "" {
		t.Fatalf("redis-stream has volume %q, and had %q", after, before)
	}
	kit.Scale(t, "apps", consumer, 1)
	orders = append(orders, place())
	api.AwaitNotifications(t, token, "order.created", orders...)

	// The last segment of the log is in the archive, and so is a base backup.
	awaitArchive(t)
	kit.Output(t, "kubectl", "wait", "backups.postgresql.cnpg.io", "--all", "--namespace=data", "--for=jsonpath={.status.phase}=completed", "--timeout=5m")

	primary, err := kit.Primary()
	if err != nil {
		t.Fatal(err)
	}
	cluster := kit.Output(t, "kubectl", "get", "service", "postgres", "--namespace=data", `--output=jsonpath={.spec.selector.cnpg\.io/cluster}`)
	lost, err := strconv.Atoi(strings.TrimPrefix(cluster, "postgres-"))
	if err != nil {
		t.Fatal(err)
	}
	run(loseInstance, "<instance>", primary.Metadata.Name) // the only one
	if _, err := api.SignIn(user); err == nil {
		t.Error("a user signs in without the database: its volume isn't lost")
	}
	run(restore, "<lost>", strconv.Itoa(lost), "<next>", strconv.Itoa(lost+1))
	run(renew)
	kit.Eventually(t, 2*time.Minute, "after the restore, the user signs in", func() (err error) {
		token, err = api.SignIn(user)
		return err
	})
	orders = append(orders, place())
	api.AwaitNotifications(t, token, "order.created", orders...)
	for _, order := range orders {
		api.MustCall(t, http.StatusOK, http.MethodGet, "/api/orders/"+order.ID, token, nil)
	}
}

// A dump has the data of all services, and no passwords of their roles.
func TestDumpHasNoPasswords(t *testing.T) {
	_, backups, _ := strings.Cut(content(t, "docs/operations.md"), "\n## Backups\n")
	blocks := fence.FindAllStringSubmatch(backups, -1)
	at := slices.IndexFunc(blocks, func(block []string) bool { return strings.Contains(block[2], "pg_dumpall") })
	if at < 0 {
		t.Fatalf("the section Backups has no command pg_dumpall: %q", blocks)
	}
	user, folder := kit.Gateway().SignUp(t), t.TempDir()
	if printed, err := kit.RunIn(folder, blocks[at][2]); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	dump := content(t, folder+"/dump.sql")
	if !strings.Contains(dump, user.Email) || strings.Contains(dump, "SCRAM-SHA-256$") {
		t.Errorf("the dump of %d bytes lacks a user, or contains passwords of roles", len(dump))
	}
}
