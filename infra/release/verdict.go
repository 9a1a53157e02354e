package release

import (
	"fmt"
	"time"
)

// Measured is what one colour of a service was asked in a span of time.
type Measured struct {
	Requests, Errors, Slow float64 // answered; answered 5xx; slower than promised
	P99                    time.Duration
}

// Promise is a service's objectives.
type Promise struct {
	Availability float64 // share of requests that aren't answered 5xx
	Latency      time.Duration
	LatencyShare float64 // of the requests answered within Latency
}

// Verdict is whether a version that is live may stay so.
type Verdict struct {
	text string
	bad  bool
}

// Bad reports whether it must be taken back.
func (v Verdict) Bad() bool { return v.bad }

// String is the verdict in a sentence, with the numbers.
func (v Verdict) String() string { return v.text }

const (
	// WorstBurn is how many times faster than the objective allows a new version may use up an error budget. It is the factor
	// at which somebody is paged (Google's Site Reliability Workbook, chapter 5).
	WorstBurn = 14.4
	// worseThanBefore is how many times more than the old colour it may do wrong, where that did as badly itself.
	worseThanBefore = 2
	// leastWrong is how many requests must have gone wrong before a share of them says anything.
	leastWrong = 5
)

// Judge holds what the new colour did against what was promised, and against what the old one did before: what both do alike
// isn't the new version's fault, and to go back wouldn't mend it.
func Judge(service string, colour Colour, fresh, former Measured, promise Promise) Verdict {
	if fresh.Requests < 1 {
		return Verdict{text: fmt.Sprintf("%s %s was asked nothing: there is nothing to judge it by", service, colour)}
	}
	told := fmt.Sprintf("%s %s: %.0f requests, p99 %.0f ms", service, colour, fresh.Requests, fresh.P99.Seconds()*1000)
	for _, fault := range []struct {
		what              string
		fresh, former     float64
		allowed, ofFormer float64
	}{
		{"were answered 5xx", fresh.Errors, former.Errors, 1 - promise.Availability, former.Requests},
		{fmt.Sprintf("took longer than %s", promise.Latency), fresh.Slow, former.Slow, 1 - promise.LatencyShare, former.Requests},
	} {
		share, before := fault.fresh/fresh.Requests, 0.0
		if fault.ofFormer >= 1 {
			before = fault.former / fault.ofFormer
		}
		most := max(WorstBurn*fault.allowed, worseThanBefore*before)
		if fault.fresh >= leastWrong && share > most {
			return Verdict{bad: true, text: fmt.Sprintf("%s, of which %.1f %% %s; at most %.1f %% may, and %.1f %% did before",
				told, 100*share, fault.what, 100*most, 100*before)}
		}
	}
	return Verdict{text: told + fmt.Sprintf(", %.0f answered 5xx", fresh.Errors)}
}
