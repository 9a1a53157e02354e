package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const runbooks = "docs/runbooks"

var fence = regexp.MustCompile("(?s)```(sh|promql)\n(.*?)```")

// Every command and every query under Diagnosis must work.
func TestDiagnosisOfEveryRunbookWorks(t *testing.T) {
	helpers := shellHelpers(t)
	files, err := filepath.Glob(runbooks + "/[A-Z]*.md")
	if err != nil || len(files) < 40 {
		t.Fatalf("there are %d runbooks: %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == "README.md" {
			continue
		}
		_, diagnosis, found := strings.Cut(content(t, file), "\n## Diagnosis\n")
		diagnosis, _, ended := strings.Cut(diagnosis, "\n## Mitigation\n")
		if !found || !ended {
			t.Errorf("%s: has no sections Diagnosis and Mitigation", file)
		}
		for _, block := range fence.FindAllStringSubmatch(diagnosis, -1) {
			if block[1] == "promql" {
				if _, err := query(block[2]); err != nil {
					t.Errorf("%s: %s: %v", file, strings.TrimSpace(block[2]), err)
				}
				continue
			}
			for command := range strings.Lines(block[2]) {
				if assignment.MatchString(command) {
					helpers += command // later commands use the variable
					continue
				}
				err := within(2*time.Minute, func() error { // new pods have no metrics yet
					printed, err := attempt("bash", "-o", "pipefail", "-c", helpers+command)
					if err != nil {
						return fmt.Errorf("%s\n%s", strings.ReplaceAll(err.Error(), helpers, ""), printed)
					}
					return nil
				})
				if err != nil {
					t.Errorf("%s: %s: %v", file, strings.TrimSpace(command), err)
				}
			}
		}
	}
}

var assignment = regexp.MustCompile(`^[A-Z]+=`)

// A dead letter is handled after the runbook's command has returned it to the stream.
func TestDeadLettersRunbookHandlesEventsAgain(t *testing.T) {
	helpers := shellHelpers(t)
	shell := func(command string) string {
		t.Helper()
		printed, err := attempt("bash", "-c", helpers+command)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, printed)
		}
		return strings.TrimSpace(printed)
	}
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	ordered, err := api.order(token, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	api.awaitNotifications(t, token, "order.created", ordered)

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
	if printed := output(t, "bash", "-c", again[2]); !strings.Contains(printed, "order_events "+before) {
		t.Errorf("for %s dead letters, the command printed %q", before, printed)
	}
	if left := shell("in_redis statefulset/redis-stream XLEN " + dead); left != "0" {
		t.Errorf("%s dead letters remain", left)
	}
	api.awaitNotifications(t, token, "order.created", ordered)
}

// shellHelpers returns the shell functions that the runbooks use.
func shellHelpers(t *testing.T) string {
	t.Helper()
	block := fence.FindStringSubmatch(content(t, runbooks+"/README.md"))
	if block == nil {
		t.Fatal("the README of the runbooks has no functions")
	}
	return block[2]
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
