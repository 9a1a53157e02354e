package e2e

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"platform.example/test/kit"
)

// A dead letter is handled after the runbook's command has returned it to the stream.
func TestDeadLettersRunbookHandlesEventsAgain(t *testing.T) {
	helpers := shellHelpers(t)
	shell := func(command string) string {
		t.Helper()
		printed, err := kit.Run("bash", "-c", helpers+command)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, printed)
		}
		return strings.TrimSpace(printed)
	}
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	ordered, err := api.Order(token, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	api.AwaitNotifications(t, token, "order.created", ordered)

	// Simulate an unhandled event: no notification, no record of the event, and an entry in the dead letters.
	const stream, dead = "orders:events", "orders:events:dead"
	newest := strings.Split(shell("in_redis statefulset/redis-stream --raw XREVRANGE "+stream+" + - COUNT 1"), "\n")
	if !strings.Contains(strings.Join(newest, " "), ordered.ID) {
		t.Fatalf("the newest event is not that of order %s: %q", ordered.ID, newest)
	}
	event := newest[1+slices.Index(newest, "id")]
	shell(`in_postgres notifications "DELETE FROM handled_events WHERE event_id = '` + event + `'"`)
	shell(`in_postgres notifications "DELETE FROM notifications WHERE order_id = '` + ordered.ID + `'"`)
	shell("in_redis statefulset/redis-stream XADD " + dead + " '*' '" + strings.Join(newest[1:], "' '") + "' dead_id " + newest[0] + " dead_reason test")
	before := shell("in_redis statefulset/redis-stream XLEN " + dead)

	_, mitigation, _ := strings.Cut(content(t, runbooks+"/DeadLetters.md"), "\n## Mitigation\n")
	again := fence.FindStringSubmatch(mitigation)
	if again == nil {
		t.Fatal("the runbook has no command under Mitigation")
	}
	if printed := kit.Output(t, "bash", "-c", again[2]); !strings.Contains(printed, "order_events "+before) {
		t.Errorf("for %s dead letters, the command printed %q", before, printed)
	}
	if left := shell("in_redis statefulset/redis-stream XLEN " + dead); left != "0" {
		t.Errorf("%s dead letters remain", left)
	}
	api.AwaitNotifications(t, token, "order.created", ordered)
}
