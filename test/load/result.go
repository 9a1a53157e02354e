package load

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sample is the result of a request.
type Sample struct {
	At       time.Time     `json:"at"`         // scheduled time
	Latency  time.Duration `json:"latency_ns"` // from At until the end of the response, or until the request failed
	Kind     Kind          `json:"kind"`
	Status   int           `json:"status,omitempty"` // 0: no response
	Err      string        `json:"err,omitempty"`    // "": the response was as expected
	By       []Origin      `json:"by,omitempty"`     // the services that responded, the gateway first; shared with other samples
	Reused   bool          `json:"reused,omitempty"` // the connection was used before
	Replayed bool          `json:"replayed,omitempty"`
}

// ReceivedAt returns the time of the response.
func (s Sample) ReceivedAt() time.Time { return s.At.Add(s.Latency) }

// Refused reports whether a rate limit, of the edge or of the gateway, refused the request.
func (s Sample) Refused() bool { return s.Status == http.StatusTooManyRequests }

// Lost reports whether the request got no response, or not the expected one. A refusal by a rate limit is no loss; see
// Refused.
func (s Sample) Lost() bool { return s.Err != "" && !s.Refused() }

// by reports whether the service responded in that colour or version; "" matches any.
func (s Sample) by(service, colourOrVersion string) bool {
	return slices.ContainsFunc(s.By, func(o Origin) bool {
		return o.Service == service && (colourOrVersion == "" || colourOrVersion == o.Colour || colourOrVersion == o.Version)
	})
}

// Result is the result of a run.
type Result struct {
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`    // time of the last response
	PerUser float64   `json:"per_user"` // scheduled requests per minute of each user
	Samples []Sample  `json:"samples"`  // in the order of completion
}

func (r Result) those(are func(Sample) bool) []Sample {
	var found []Sample
	for _, s := range r.Samples {
		if are(s) {
			found = append(found, s)
		}
	}
	return found
}

// Lost returns the lost requests.
func (r Result) Lost() []Sample { return r.those(Sample.Lost) }

// Refused returns the requests that a rate limit refused.
func (r Result) Refused() []Sample { return r.those(Sample.Refused) }

// Replayed returns the requests that net/http sent again because a kept connection was closed.
func (r Result) Replayed() []Sample { return r.those(func(s Sample) bool { return s.Replayed }) }

// Rate returns the scheduled requests per second, from the first to the last.
func (r Result) Rate() float64 {
	if len(r.Samples) < 2 {
		return 0
	}
	earlier := func(a, b Sample) int { return a.At.Compare(b.At) }
	span := slices.MaxFunc(r.Samples, earlier).At.Sub(slices.MinFunc(r.Samples, earlier).At)
	if span <= 0 {
		return 0
	}
	return float64(len(r.Samples)-1) / span.Seconds()
}

// Percentile returns the latency of the fastest share p of the requests, lost ones included; p is from 0 to 1.
func (r Result) Percentile(p float64) time.Duration {
	if len(r.Samples) == 0 {
		return 0
	}
	latencies := make([]time.Duration, len(r.Samples))
	for i, s := range r.Samples {
		latencies[i] = s.Latency
	}
	slices.Sort(latencies)
	rank := int(math.Ceil(p*float64(len(latencies)))) - 1
	return latencies[min(max(rank, 0), len(latencies)-1)]
}

// FirstResponseOf returns the time of the first response of the service in that colour or version, or zero.
func (r Result) FirstResponseOf(service, colourOrVersion string) time.Time {
	return r.extreme(service, colourOrVersion, func(a, b time.Time) bool { return a.Before(b) })
}

// LastResponseOf returns the time of the last response of the service in that colour or version, or zero.
func (r Result) LastResponseOf(service, colourOrVersion string) time.Time {
	return r.extreme(service, colourOrVersion, func(a, b time.Time) bool { return a.After(b) })
}

func (r Result) extreme(service, colourOrVersion string, wins func(a, b time.Time) bool) time.Time {
	var found time.Time
	for _, s := range r.Samples {
		if at := s.ReceivedAt(); s.by(service, colourOrVersion) && (found.IsZero() || wins(at, found)) {
			found = at
		}
	}
	return found
}

// Share returns the share of each colour in a service's responses, from 0 to 1, by service and colour.
func (r Result) Share() map[string]map[string]float64 {
	shares, all := map[string]map[string]float64{}, map[string]float64{}
	for _, s := range r.Samples {
		for _, o := range s.By {
			if shares[o.Service] == nil {
				shares[o.Service] = map[string]float64{}
			}
			shares[o.Service][o.Colour]++
			all[o.Service]++
		}
	}
	for service, colours := range shares {
		for colour := range colours {
			colours[colour] /= all[service]
		}
	}
	return shares
}

// Err returns nil if requests were sent and all of them got the expected response.
func (r Result) Err() error {
	var faults []error
	if len(r.Samples) == 0 {
		faults = append(faults, errors.New("no request was sent"))
	}
	if lost := r.Lost(); len(lost) > 0 {
		faults = append(faults, fmt.Errorf("%d of %d requests are lost: %s", len(lost), len(r.Samples), r.causes(lost)))
	}
	if refused := r.Refused(); len(refused) > 0 {
		faults = append(faults, r.refusal(refused))
	}
	return errors.Join(faults...)
}

// refusal names the limits to raise. Responses of the gateway name it in Server-Timing; those of the edge don't.
func (r Result) refusal(refused []Sample) error {
	byGateway := 0
	for _, s := range refused {
		if len(s.By) > 0 {
			byGateway++
		}
	}
	return fmt.Errorf("%d requests were refused (429), %d of them by the gateway, which got %.0f a minute from each user: for this load "+
		"use more users, or raise the stack's services.api-gateway.requestsPerMinute above that, and edge.requestsPerSecond above %.0f",
		len(refused), byGateway, r.PerUser, r.Rate())
}

// causes counts equal errors, with the time of the first and last one, the most frequent error first.
func (r Result) causes(lost []Sample) string {
	type count struct {
		what        string
		times       int
		first, last time.Time
	}
	counts := map[string]*count{}
	for _, s := range lost {
		what := fmt.Sprintf("%s: %s", s.Kind, s.Err)
		c := counts[what]
		if c == nil {
			c = &count{what: what, first: s.At, last: s.At}
			counts[what] = c
		}
		c.times++
		if s.At.Before(c.first) {
			c.first = s.At
		}
		if s.At.After(c.last) {
			c.last = s.At
		}
	}
	sorted := slices.SortedFunc(maps.Values(counts), func(a, b *count) int {
		return cmp.Or(cmp.Compare(b.times, a.times), strings.Compare(a.what, b.what))
	})
	const most = 10
	var parts []string
	for _, c := range sorted[:min(len(sorted), most)] {
		parts = append(parts, fmt.Sprintf("%d × %s (second %.1f to %.1f)", c.times, c.what, c.first.Sub(r.Began).Seconds(), c.last.Sub(r.Began).Seconds()))
	}
	if len(sorted) > most {
		parts = append(parts, fmt.Sprintf("and %d other causes", len(sorted)-most))
	}
	return strings.Join(parts, "; ")
}

// Summary returns the result in a few lines for the terminal.
func (r Result) Summary() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s in %s, %.1f/s\n", r.Line(), r.Ended.Sub(r.Began).Round(100*time.Millisecond), r.Rate())
	if err := r.Err(); err != nil {
		fmt.Fprintf(&text, "%v\n", err)
	}
	return text.String()
}

// Line returns the result in one line, without a line break.
func (r Result) Line() string {
	text := fmt.Sprintf("%d requests: %d lost, %d refused, %d replayed; p50 %s, p99 %s", len(r.Samples), len(r.Lost()), len(r.Refused()),
		len(r.Replayed()), r.Percentile(.5).Round(100*time.Microsecond), r.Percentile(.99).Round(100*time.Microsecond))
	shares := r.Share()
	for _, service := range slices.Sorted(maps.Keys(shares)) {
		text += "; " + service
		for _, colour := range slices.Sorted(maps.Keys(shares[service])) {
			text += fmt.Sprintf(" %s %.1f %%", colour, 100*shares[service][colour])
		}
	}
	return text
}
