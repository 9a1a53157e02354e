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

// Sample is what became of a request.
type Sample struct {
	At       time.Time     `json:"at"`         // when it was due
	Latency  time.Duration `json:"latency_ns"` // from then until the whole answer was there, or it was given up
	Kind     Kind          `json:"kind"`
	Status   int           `json:"status,omitempty"` // 0: there was no answer
	Err      string        `json:"err,omitempty"`    // what was wrong; "": nothing
	By       []Origin      `json:"by,omitempty"`     // who answered, the gateway first; shared with other samples
	Reused   bool          `json:"reused,omitempty"` // the connection, for which it had been used before
	Replayed bool          `json:"replayed,omitempty"`
}

// Answered is when the answer was there.
func (s Sample) Answered() time.Time { return s.At.Add(s.Latency) }

// Refused reports whether a rate limit said no, of the edge or of the gateway.
func (s Sample) Refused() bool { return s.Status == http.StatusTooManyRequests }

// Lost reports whether there was no answer, or another than the request must have. A refusal by a rate limit is no loss:
// see Refused.
func (s Sample) Lost() bool { return s.Err != "" && !s.Refused() }

// by reports whether the service answered, in the colour or version; "" is any.
func (s Sample) by(service, colourOrVersion string) bool {
	return slices.ContainsFunc(s.By, func(o Origin) bool {
		return o.Service == service && (colourOrVersion == "" || colourOrVersion == o.Colour || colourOrVersion == o.Version)
	})
}

// Result is what became of all requests.
type Result struct {
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`    // the last answer
	PerUser float64   `json:"per_user"` // requests a minute that each user was to send
	Samples []Sample  `json:"samples"`  // in the order in which they were done
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

// Lost is the requests that were lost.
func (r Result) Lost() []Sample { return r.those(Sample.Lost) }

// Refused is the requests that met a rate limit.
func (r Result) Refused() []Sample { return r.those(Sample.Refused) }

// Replayed is the requests that net/http sent a second time, since a kept connection was closed under them.
func (r Result) Replayed() []Sample { return r.those(func(s Sample) bool { return s.Replayed }) }

// Rate is how many requests a second were due, from the first to the last.
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

// Percentile is the latency within which the share p of the requests was done, lost ones too; p is from 0 to 1.
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

// FirstAnsweredBy is when the first answer came in which the service had a part, in that colour or version; zero: none.
func (r Result) FirstAnsweredBy(service, colourOrVersion string) time.Time {
	return r.answered(service, colourOrVersion, func(a, b time.Time) bool { return a.Before(b) })
}

// LastAnsweredBy is when the last answer came in which the service had a part, in that colour or version; zero: none.
func (r Result) LastAnsweredBy(service, colourOrVersion string) time.Time {
	return r.answered(service, colourOrVersion, func(a, b time.Time) bool { return a.After(b) })
}

func (r Result) answered(service, colourOrVersion string, wins func(a, b time.Time) bool) time.Time {
	var found time.Time
	for _, s := range r.Samples {
		if at := s.Answered(); s.by(service, colourOrVersion) && (found.IsZero() || wins(at, found)) {
			found = at
		}
	}
	return found
}

// Share is which part of a service's answers each of its colours gave, from 0 to 1, by service and by colour.
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

// Err is nil if requests were sent and all of them got the answer that they must have.
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

// refusal says which limit to raise. The gateway signs its answers; those of the edge bear no name.
func (r Result) refusal(refused []Sample) error {
	byGateway := 0
	for _, s := range refused {
		if len(s.By) > 0 {
			byGateway++
		}
	}
	return fmt.Errorf("%d requests were refused (429), %d of them by the gateway, to which each user sent %.0f a minute: for this load "+
		"take more users, or raise the stack's services.api-gateway.requestsPerMinute above that, and edge.requestsPerSecond above %.0f",
		len(refused), byGateway, r.PerUser, r.Rate())
}

// causes counts like causes, with when they came, the most frequent first.
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
	var said []string
	for _, c := range sorted[:min(len(sorted), most)] {
		said = append(said, fmt.Sprintf("%d × %s (second %.1f to %.1f)", c.times, c.what, c.first.Sub(r.Began).Seconds(), c.last.Sub(r.Began).Seconds()))
	}
	if len(sorted) > most {
		said = append(said, fmt.Sprintf("and %d other causes", len(sorted)-most))
	}
	return strings.Join(said, "; ")
}

// Summary is the result in a few lines for people.
func (r Result) Summary() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s in %s, %.1f/s\n", r.Line(), r.Ended.Sub(r.Began).Round(100*time.Millisecond), r.Rate())
	if err := r.Err(); err != nil {
		fmt.Fprintf(&text, "%v\n", err)
	}
	return text.String()
}

// Line is the result in one line, without a line break.
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
