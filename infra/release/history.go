package release

import (
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

// keptReleases is how many releases a history holds.
const keptReleases = 50

// Deployed is what a service was in a release.
type Deployed struct {
	Version string `json:"version"`
	Image   string `json:"digest"` // repository@sha256:…
}

// Entry is one release: what was live from its time on.
type Entry struct {
	Number   int                 `json:"number"` // counts from 1
	At       time.Time           `json:"at"`
	Services map[string]Deployed `json:"services"`
}

// History is the last releases of a stack, the oldest first.
type History []Entry

// Then is the history once these services are live. Nothing is added where that is so already.
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
	return longer[max(0, len(longer)-keptReleases):]
}

// Find is what a person means by a number of the history (12 or #12), or by a service's version: the services that are to
// be deployed as they were then. A version names the one service that had it.
func (h History) Find(text string) (map[string]Deployed, error) {
	if len(h) == 0 {
		return nil, errors.New("the history is empty: nothing was ever released")
	}
	latest := slices.Backward(h)
	if regexp.MustCompile(`^#?[0-9]{1,9}$`).MatchString(text) {
		number, _ := strconv.Atoi(strings.TrimPrefix(text, "#"))
		for _, entry := range latest {
			if entry.Number == number {
				return entry.Services, nil
			}
		}
		return nil, fmt.Errorf("there is no release %d in the history: it has %d to %d", number, h[0].Number, h[len(h)-1].Number)
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
		return nil, fmt.Errorf("no service ever was version %q: want a version or a number that `make releases` lists", text)
	}
	return found, nil
}
