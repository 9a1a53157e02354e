package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
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

// A lost volume is replaced as its runbook describes: Postgres continues with the last dump, and redis-stream with the events of the
// outbox.
func TestVolumeLostRunbookReplacesVolumes(t *testing.T) {
	steps := blocks(t, "VolumeLost")
	_, backups, _ := strings.Cut(content(t, "docs/operations.md"), "\n## Backups\n")
	dump := fence.FindStringSubmatch(backups)
	if len(steps) != 3 || dump == nil {
		t.Fatalf("the runbook has %d blocks of commands, want 3, and the section Backups has %q", len(steps), dump)
	}
	replace, restore, renew := steps[0], steps[1], steps[2]
	run := func(folder, commands string) {
		t.Helper()
		if printed, err := kit.RunIn(folder, "set -e -o pipefail\n"+local(commands)); err != nil {
			t.Fatalf("%s\n%v\n%s", commands, err, printed)
		}
	}
	lose := func(server string) {
		t.Helper()
		volume := func() string {
			return kit.Output(t, "kubectl", "get", "persistentvolumeclaim", "data-"+server+"-0", "--namespace=data", "--output=jsonpath={.spec.volumeName}")
		}
		before := volume()
		run(kit.Root, strings.NewReplacer("<namespace>", "data", "<server>", server).Replace(replace))
		if after := volume(); after == before || after == "" {
			t.Fatalf("%s has volume %q, and had %q", server, after, before)
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
	lose("redis-stream") // with an event that no consumer has read
	kit.Scale(t, "apps", consumer, 1)
	orders = append(orders, place())
	api.AwaitNotifications(t, token, "order.created", orders...)

	// The dump outlives a failure of the test, because it is the only copy of the data.
	folder, err := os.MkdirTemp("", "dump-of-the-platform-")
	if err != nil {
		t.Fatal(err)
	}
	run(folder, dump[2])
	if strings.Contains(content(t, folder+"/dump.sql"), "SCRAM-SHA-256$") {
		t.Error("the dump contains passwords of roles")
	}
	lose("postgres")
	if _, err := api.SignIn(user); err == nil {
		t.Error("a user signs in without the database: the volume wasn't replaced")
	}
	run(kit.Root, renew)
	kit.Eventually(t, 2*time.Minute, "without a dump, new users sign up", func() error {
		_, err := api.Expect(http.MethodPost, "/api/users", "", map[string]string{"email": user.Email, "name": "A", "password": rand.Text()}, http.StatusCreated)
		return err
	})
	lose("postgres")
	run(folder, restore)
	run(kit.Root, renew)
	kit.Eventually(t, 2*time.Minute, "after the restore from "+folder+", the user signs in", func() (err error) {
		token, err = api.SignIn(user)
		return err
	})
	orders = append(orders, place())
	api.AwaitNotifications(t, token, "order.created", orders...)
	for _, order := range orders {
		api.MustCall(t, http.StatusOK, http.MethodGet, "/api/orders/"+order.ID, token, nil)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Error(err)
	}
}
