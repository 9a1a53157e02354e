package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// history is releases an hour apart. Each text has the versions of the services a, b …, and commits after a slash: "12/c1".
func history(texts ...string) []release {
	var found []release
	for i, text := range texts {
		versions, tested, _ := strings.Cut(text, "/")
		entry := release{Number: i + 1, At: began.Add(time.Duration(i) * time.Hour), Services: map[string]struct{ Version string }{}, Tested: strings.Fields(tested)}
		for j, version := range versions {
			entry.Services[string(rune('a'+j))] = struct{ Version string }{string(version)}
		}
		found = append(found, entry)
	}
	return found
}

func committed(commit string) (time.Time, bool) {
	return map[string]time.Time{"c1": began.Add(-30 * time.Minute), "c2": began.Add(30 * time.Minute), "late": began.Add(1000 * time.Hour)}[commit],
		strings.HasPrefix(commit, "c") || commit == "late"
}

func TestDelivery(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		history               []release
		deployments, failures int
		lead, restore         time.Duration // 0: nil
	}{
		"nothing":                              {nil, 0, 0, 0, 0},
		"the first release":                    {history("1"), 1, 0, 0, 0},
		"three releases":                       {history("1", "2", "3"), 3, 0, 0, 0},
		"a rollback":                           {history("1", "2", "1"), 2, 1, 0, hour},
		"a rollback and the fix":               {history("1", "2", "1", "3"), 3, 1, 0, hour},
		"released again after the rollback":    {history("1", "2", "1", "2"), 3, 1, 0, hour},
		"back to an older version":             {history("1", "2", "3", "1"), 4, 0, 0, 0},
		"a rollback of one service":            {history("11", "12", "22", "21"), 3, 1, 0, 2 * hour},
		"a rollback of both services":          {history("11", "22", "11"), 2, 1, 0, hour},
		"two releases rolled back together":    {history("11", "12", "22", "11"), 3, 2, 0, 3 * hour / 2},
		"one goes back while another proceeds": {history("11", "12", "21"), 3, 0, 0, 0},
		"a service that is added":              {history("1", "12"), 2, 0, 0, 0},
		"two failures":                         {history("1", "2", "1", "3", "3", "1"), 4, 2, 0, 3 * hour / 2},
		"the time from the commit":             {history("1/c1", "2/c2"), 2, 0, hour / 2, 0},
		"the first commit counts":              {history("1/c1 c2"), 1, 0, hour / 2, 0},
		"an unknown commit":                    {history("1/unknown"), 1, 0, 0, 0},
		"a clock that is wrong":                {history("1/late"), 1, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := deliver(test.history, began.Add(48*hour), committed)
			if got.Deployments != test.deployments || got.Failures != test.failures {
				t.Errorf("%d deployments, %d failures, want %d and %d", got.Deployments, got.Failures, test.deployments, test.failures)
			}
			if !equal(got.Lead, test.lead) || !equal(got.Restore, test.restore) {
				t.Errorf("lead time %v, time to restore %v, want %v and %v", got.Lead, got.Restore, test.lead, test.restore)
			}
			if want := 48 * hour; len(test.history) > 0 && got.Span != want {
				t.Errorf("the span is %s, want %s", got.Span, want)
			}
		})
	}
}

func equal(got *time.Duration, want time.Duration) bool {
	return got == nil && want == 0 || got != nil && *got == want
}

// Properties of any history: no release is counted twice, failures are deployments, and the names of services and the date don't matter.
func TestPropertiesOfDeliveries(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		texts := []string{fmt.Sprint(random.IntN(90) + 10)}
		for range random.IntN(12) {
			texts = append(texts, fmt.Sprintf("%d%d", 1+random.IntN(3), 1+random.IntN(3)))
		}
		texts = slices.Compact(texts)
		all := history(texts...)
		got := deliver(all, began.Add(48*time.Hour), committed)
		if got.Deployments < 1 || got.Deployments > len(all) || got.Failures > got.Deployments || (got.Restore == nil) != (got.Failures == 0) || got.Lead != nil {
			t.Fatalf("%v: %+v", texts, got)
		}
		if got.Restore != nil && *got.Restore < time.Hour {
			t.Fatalf("%v: restored in %s, but the releases are an hour apart", texts, *got.Restore)
		}
		moved := history(texts...)
		for i := range moved {
			moved[i].At = moved[i].At.Add(1000 * time.Hour)
			moved[i].Services["x"], moved[i].Services["y"] = moved[i].Services["b"], moved[i].Services["a"]
			delete(moved[i].Services, "a")
			delete(moved[i].Services, "b")
		}
		other := deliver(moved, began.Add(1048*time.Hour), committed)
		if other.Deployments != got.Deployments || other.Failures != got.Failures || other.Span != got.Span || (other.Restore == nil) != (got.Restore == nil) {
			t.Fatalf("%v: %+v, elsewhere %+v", texts, got, other)
		}
		// A new version that is rolled back at once is one more deployment and one more failure.
		bad := deliver(history(append(slices.Clone(texts), "xx", texts[len(texts)-1])...), began.Add(48*time.Hour), committed)
		if bad.Deployments != got.Deployments+1 || bad.Failures != got.Failures+1 {
			t.Fatalf("%v and a rollback: %+v, before %+v", texts, bad, got)
		}
	}
}
