package release_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"platform.example/infra/release"
)

func deployed(version string) release.Deployed {
	return release.Deployed{Version: version, Image: "registry.example.com/any@sha256:" + version}
}

func TestHistoryFind(t *testing.T) {
	var history release.History
	one := map[string]release.Deployed{"a": deployed("a1"), "b": deployed("b1")}
	two := map[string]release.Deployed{"a": deployed("a2"), "b": deployed("b1")}
	for _, live := range []map[string]release.Deployed{one, one, two, two, one} {
		history = history.Then(live, now)
	}
	if len(history) != 3 || history[0].Number != 1 || history[2].Number != 3 || history[2].Services["a"].Version != "a1" {
		t.Errorf("history is %+v, want three releases, the third with the services of the first", history)
	}
	for _, c := range []struct{ text, want, fault string }{
		{text: "2", want: "a2 b1"},
		{text: "#1", want: "a1 b1"},
		{text: "a2", want: "a2 "},
		{text: "7", fault: "release 7 is not in the history, which has 1 to 3"},
		{text: "a3", fault: `no release has version "a3"`},
	} {
		found, err := history.Find(c.text)
		if got := found["a"].Version + " " + found["b"].Version; c.fault == "" && (err != nil || got != c.want) {
			t.Errorf("%s is %q, %v; want %q", c.text, got, err, c.want)
		}
		if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v, want %s", c.text, err, c.fault)
		}
	}
	if _, err := (release.History{}).Find("1"); err == nil {
		t.Error("an empty history has a release")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var history release.History
	for i := range 200 {
		history = history.Then(map[string]release.Deployed{"a": deployed(fmt.Sprint(i))}, now.Add(time.Duration(i)*time.Hour))
	}
	if last := history[len(history)-1]; len(history) != 50 || last.Number != 200 {
		t.Errorf("it holds %d releases up to number %d, want 50 up to 200", len(history), last.Number)
	}
}

// Without it, a plain update of production would release versions that no tests have passed.
func TestHistoryKeepsTheLastTestedRelease(t *testing.T) {
	var history release.History
	for i := range 200 {
		history = history.Then(map[string]release.Deployed{"a": deployed(fmt.Sprint(i))}, now)
		if i == 3 || i == 5 {
			history = history.Passed(fmt.Sprint("c", i))
		}
	}
	if found, err := history.Promotable(""); err != nil || found["a"] != deployed("5") || len(history) != 50 || history[1].Number != 152 {
		t.Errorf("of %d releases, %v is promoted (%v), want 5", len(history), found, err)
	}
	history = history.Passed("c199").Then(map[string]release.Deployed{}, now)
	if history[0].Number != 152 {
		t.Errorf("it keeps release %d, although a later one is tested", history[0].Number)
	}
}

func TestOnlyTestedReleasesArePromoted(t *testing.T) {
	var history release.History
	versions := func(commit string) string {
		found, err := history.Promotable(commit)
		if err != nil {
			return err.Error()
		}
		return found["a"].Version
	}
	if got := history.Passed("c0"); len(got) != 0 || versions("") != "" {
		t.Errorf("an empty history has %v", got)
	}
	history = history.Then(map[string]release.Deployed{"a": deployed("a1")}, now)
	if got := versions(""); got != "a1" {
		t.Errorf("without tested releases, %s is promoted, want the latest", got)
	}
	before := history
	history = history.Passed("c1").Passed("c1").Passed("c2").Passed("")
	if tested := history[0].Tested; len(tested) != 2 || len(before[0].Tested) != 0 {
		t.Errorf("tested at %v, and the former history at %v", tested, before[0].Tested)
	}
	history = history.Then(map[string]release.Deployed{"a": deployed("a2")}, now)
	for commit, want := range map[string]string{"": "a1", "c1": "a1", "c2": "a1"} {
		if got := versions(commit); got != want {
			t.Errorf("commit %q: %s is promoted, want %s: a2 isn't tested yet", commit, got, want)
		}
	}
	if got := versions("c3"); !strings.Contains(got, "commit c3 has not passed its tests (2 other commits have)") {
		t.Errorf("an untested commit: %s", got)
	}
	history = history.Passed("c3")
	if got := versions(""); got != "a2" {
		t.Errorf("%s is promoted, want the latest tested one", got)
	}
	if got := versions("c1"); got != "a1" {
		t.Errorf("commit c1: %s is promoted, want a1", got)
	}
	for i := range 200 {
		history = history.Passed(fmt.Sprint(i))
	}
	if tested := history[1].Tested; len(tested) != 50 || tested[49] != "199" {
		t.Errorf("it keeps %d tested commits", len(tested))
	}
}
