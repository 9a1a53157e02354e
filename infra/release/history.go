package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HistoryOutput is the name of the stack output that holds the History.
const HistoryOutput = "releases"

// Convert converts a value by its JSON. Pulumi has the values of outputs as maps, lists, strings and numbers.
func Convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// keptReleases is how many releases a history holds.
const keptReleases = 50

// Deployed is the version and the image of a service in a release.
type Deployed struct {
	Version string `json:"version"`
	Image   string `json:"digest"`           // repository@sha256:…
	Schema  string `json:"schema,omitempty"` // hash of its migrations; empty if it isn't known
}

// Entry is one release: the services that were live from At on.
type Entry struct {
	Number   int                 `json:"number"` // counts from 1
	At       time.Time           `json:"at"`
	Services map[string]Deployed `json:"services"`
	Tested   []string            `json:"tested,omitempty"` // the commits of the sources at which it passed the tests of its stack
}

// History is the list of a stack's last releases, oldest first.
type History []Entry

// Then returns the history with an entry for these live services. It returns h unchanged if its last entry has the same ones. The history
// keeps the last tested release.
func (h History) Then(live map[string]Deployed, now time.Time) History {
	number := 1
	if len(h) > 0 {
		last := h[len(h)-1]
		if maps.Equal(last.Services, live) {
			return h
		}
		number = last.Number + 1
	}
	longer := append(slices.Clone(h), Entry{Number: number, At: now.UTC().Truncate(time.Second), Services: live})
	if oldest := len(longer) - keptReleases; oldest > 0 {
		if !slices.ContainsFunc(longer[oldest:], Entry.passed) && longer[oldest-1].passed() {
			longer[oldest] = longer[oldest-1] // a plain update of another stack promotes it
		}
		longer = longer[oldest:]
	}
	return longer
}

func (e Entry) passed() bool { return len(e.Tested) > 0 }

// Passed returns the history with the commit recorded as tested in its last entry.
func (h History) Passed(commit string) History {
	if len(h) == 0 || commit == "" || slices.Contains(h[len(h)-1].Tested, commit) {
		return h
	}
	tested := slices.Clone(h)
	last := &tested[len(h)-1]
	last.Tested = append(slices.Clone(last.Tested), commit)
	last.Tested = last.Tested[max(0, len(last.Tested)-keptReleases):]
	return tested
}

// Promotable returns the services of the latest release that passed its tests at the commit, or at any commit if commit is empty. Without
// a tested release, it returns the services of the latest release.
func (h History) Promotable(commit string) (map[string]Deployed, error) {
	var tested []string
	for _, entry := range slices.Backward(h) {
		if commit == "" && entry.passed() || slices.Contains(entry.Tested, commit) {
			return entry.Services, nil
		}
		tested = append(tested, entry.Tested...)
	}
	switch {
	case commit != "":
		return nil, fmt.Errorf("commit %s has not passed its tests (%d other commits have): release it there and test it first", commit, len(tested))
	case len(h) == 0:
		return nil, nil
	default:
		return h[len(h)-1].Services, nil
	}
}

// Find looks up a release by its number (12 or #12), or services by a version. It returns the services to deploy: all services
// of the release with that number, or for a version the services that had it, as in their latest release with it.
func (h History) Find(text string) (map[string]Deployed, error) {
	if len(h) == 0 {
		return nil, errors.New("the history is empty: nothing has been released yet")
	}
	latest := slices.Backward(h)
	if regexp.MustCompile(`^#?[0-9]{1,9}$`).MatchString(text) {
		number, _ := strconv.Atoi(strings.TrimPrefix(text, "#"))
		for _, entry := range latest {
			if entry.Number == number {
				return entry.Services, nil
			}
		}
		return nil, fmt.Errorf("release %d is not in the history, which has %d to %d", number, h[0].Number, h[len(h)-1].Number)
	}
	found := map[string]Deployed{}
	for _, entry := range latest {
		for service, deployed := range entry.Services {
			if _, newer := found[service]; deployed.Version == text && !newer {
				found[service] = deployed
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no release has version %q: use a version or a number that `make releases` lists", text)
	}
	return found, nil
}
