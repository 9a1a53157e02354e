package release_test

import (
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/release"
)

func TestJudge(t *testing.T) {
	promise := catalog.Objectives{Availability: 0.999, Latency: 250 * time.Millisecond, LatencyShare: 0.99}
	well := release.Measured{Requests: 1000, P99: 20 * time.Millisecond}
	for _, c := range []struct {
		name          string
		fresh, former release.Measured
		bad           bool
		text          string
	}{
		{"well", well, well, false, "green: 1000 requests, p99 20 ms"},
		{"no requests", release.Measured{}, well, false, "nothing to judge"},
		{"5 % errors", release.Measured{Requests: 1000, Errors: 50}, well, true, "; 5.0 % of the requests returned 5xx (limit 1.4 %, previous version 0.0 %)"},
		{"5 % errors, as before", release.Measured{Requests: 1000, Errors: 50}, release.Measured{Requests: 1000, Errors: 50}, false, ""},
		{"three times the previous errors", release.Measured{Requests: 1000, Errors: 150}, release.Measured{Requests: 1000, Errors: 50}, true, ""},
		{"a few errors in a quiet night", release.Measured{Requests: 20, Errors: 4}, well, false, ""},
		{"slow", release.Measured{Requests: 1000, Slow: 900}, well, true, "took longer than 250ms"},
		{"slow, as before", release.Measured{Requests: 1000, Slow: 900}, release.Measured{Requests: 500, Slow: 450}, false, ""},
		{"one request", release.Measured{Requests: 1}, well, false, "green: 1 requests"},
		{"the fewest errors that count", release.Measured{Requests: 100, Errors: 5}, well, true, ""},
		{"exactly twice the previous errors", release.Measured{Requests: 10, Errors: 10}, release.Measured{Requests: 10, Errors: 5}, false, ""},
		{"a previous version with one request, which failed", release.Measured{Requests: 10, Errors: 10}, release.Measured{Requests: 1, Errors: 1}, false, ""},
		{"a previous version without requests", release.Measured{Requests: 1000, Errors: 50}, release.Measured{}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			verdict := release.Judge(service, release.Green, c.fresh, c.former, promise)
			if verdict.Bad != c.bad || !strings.Contains(verdict.Text, c.text) {
				t.Errorf("bad: %v, want %v: %s", verdict.Bad, c.bad, verdict.Text)
			}
		})
	}
}
