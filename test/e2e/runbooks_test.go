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

// What a runbook tells a tired person to look at must be there: every command and every query under Look is tried.
func TestEveryLookOfARunbookWorks(t *testing.T) {
	helpers := shellHelpers(t)
	files, err := filepath.Glob(runbooks + "/[A-Z]*.md")
	if err != nil || len(files) < 40 {
		t.Fatalf("there are %d runbooks: %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == "README.md" {
			continue
		}
		_, look, found := strings.Cut(content(t, file), "\n## Diagnosis\n")
		look, _, ended := strings.Cut(look, "\n## Mitigation\n")
		if !found || !ended {
			t.Errorf("%s: has no sections Look and Mend", file)
		}
		for _, block := range fence.FindAllStringSubmatch(look, -1) {
			if block[1] == "promql" {
				if _, err := query(block[2]); err != nil {
					t.Errorf("%s: %s: %v", file, strings.TrimSpace(block[2]), err)
				}
				continue
			}
			for command := range strings.Lines(block[2]) {
				if assignment.MatchString(command) {
					helpers += command // what the next ones go by
					continue
				}
				err := within(2*time.Minute, func() error { // of pods that have just come nothing is measured yet
					said, err := attempt("bash", "-o", "pipefail", "-c", helpers+command)
					if err != nil {
						return fmt.Errorf("%s\n%s", strings.ReplaceAll(err.Error(), helpers, ""), said)
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

// An event that was laid aside is handled when the runbook's command has put it back.
func TestDeadLettersAreHandledAgainAsTheirRunbookSays(t *testing.T) {
	helpers := shellHelpers(t)
	shell := func(command string) string {
		t.Helper()
		said, err := attempt("bash", "-c", helpers+command)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, said)
		}
		return strings.TrimSpace(said)
	}
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	ordered, err := api.order(token, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	api.told(t, token, "order.created", ordered)

	// As if it had never been handled: no notification, nothing known of the event, and its entry laid aside.
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

	_, mend, _ := strings.Cut(content(t, runbooks+"/DeadLetters.md"), "\n## Mitigation\n")
	again := fence.FindStringSubmatch(mend)
	if again == nil {
		t.Fatal("the runbook has no command under Mend")
	}
	if said := output(t, "bash", "-c", again[2]); !strings.Contains(said, "order_events "+before) {
		t.Errorf("of %s dead letters the command moved %q", before, said)
	}
	if left := shell("in_redis statefulset/redis-stream XLEN " + dead); left != "0" {
		t.Errorf("%s dead letters are left", left)
	}
	api.told(t, token, "order.created", ordered)
}

// shellHelpers is the functions that the runbooks use.
func shellHelpers(t *testing.T) string {
	t.Helper()
	block := fence.FindStringSubmatch(content(t, runbooks+"/README.md"))
	if block == nil {
		t.Fatal("the runbooks' README has no functions")
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
