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
