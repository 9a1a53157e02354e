package main

import "time"

// release is an entry of the history that `make releases JSON=1` prints.
type release struct {
	Number   int
	At       time.Time
	Services map[string]struct{ Version string }
	Tested   []string // commits
}

// delivery is the four DORA figures of a history. A nil figure has no release that it could be measured on.
type delivery struct {
	Deployments int // without rollbacks
	Failures    int // deployments that were rolled back
	Span        time.Duration
	Lead        *time.Duration // mean, from the commit until it was live
	Restore     *time.Duration // mean, from a failed deployment until its rollback
}

// deliver computes the figures until now. Committed returns the time of a commit, if it is known.
func deliver(history []release, now time.Time, committed func(commit string) (time.Time, bool)) delivery {
	var found delivery
	var leads, restores []time.Duration
	undone := make([]bool, len(history)) // deployments that were rolled back
	back := make([]bool, len(history))   // rollbacks
	for i, entry := range history {
		if failed := undoes(history, i); len(failed) > 0 && !anyOf(back, failed) {
			back[i] = true
			for _, j := range failed {
				if !undone[j] {
					restores = append(restores, entry.At.Sub(history[j].At))
				}
				undone[j] = true
			}
			continue
		}
		found.Deployments++
		if len(entry.Tested) > 0 {
			if at, known := committed(entry.Tested[0]); known && !at.After(entry.At) {
				leads = append(leads, entry.At.Sub(at))
			}
		}
	}
	for _, failed := range undone {
		if failed {
			found.Failures++
		}
	}
	if len(history) > 0 {
		found.Span = now.Sub(history[0].At)
	}
	found.Lead, found.Restore = mean(leads), mean(restores)
	return found
}

// undoes returns the earlier releases that release i undoes. It undoes some if each service that it changes returns to the version from
// before its last change.
func undoes(history []release, i int) []int {
	if i == 0 {
		return nil
	}
	var undone []int
	for service, now := range history[i].Services {
		last := history[i-1].Services[service]
		if now == last {
			continue
		}
		j := i - 1
		for j > 0 && history[j-1].Services[service] == last {
			j--
		}
		if j == 0 || history[j-1].Services[service] != now {
			return nil
		}
		undone = append(undone, j)
	}
	return undone
}

func anyOf(marked []bool, these []int) bool {
	for _, i := range these {
		if marked[i] {
			return true
		}
	}
	return false
}

// mean returns nil without values.
func mean(values []time.Duration) *time.Duration {
	if len(values) == 0 {
		return nil
	}
	var sum time.Duration
	for _, value := range values {
		sum += value
	}
	sum /= time.Duration(len(values))
	return &sum
}
