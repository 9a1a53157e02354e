package release

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

// Measured counts the requests to one colour of a service in a span of time.
type Measured struct {
	Requests, Errors, Slow float64 // all; returned 5xx; slower than the objective
	P99                    time.Duration
}

// Verdict is the judgement of a live version.
type Verdict struct {
	Text string // one sentence with the numbers
	Bad  bool   // roll the version back
}

const (
	// WorstBurn is the highest burn rate of an error budget that a new version may have, in multiples of the rate that the
	// objective allows. It is the burn rate of a page (Google's Site Reliability Workbook, chapter 5).
	WorstBurn = 14.4
	// worseThanBefore is the highest share of failed requests, in multiples of the previous version's share.
	worseThanBefore = 2
	// leastWrong is the number of failed requests below which their share means nothing.
	leastWrong = 5
)

// Judge compares the new colour with the objectives and with the previous colour before the switch. Failures that both have in common
// are not the new version's fault, and a rollback wouldn't fix them.
func Judge(service string, colour Colour, fresh, former Measured, promise catalog.Objectives) Verdict {
	if fresh.Requests < 1 {
		return Verdict{Text: fmt.Sprintf("%s %s got no requests: nothing to judge", service, colour)}
	}
	text := fmt.Sprintf("%s %s: %.0f requests, p99 %.0f ms", service, colour, fresh.Requests, fresh.P99.Seconds()*1000)
	for _, fault := range []struct {
		name                   string
		fresh, former, allowed float64
	}{
		{"returned 5xx", fresh.Errors, former.Errors, 1 - promise.Availability},
		{fmt.Sprintf("took longer than %s", promise.Latency), fresh.Slow, former.Slow, 1 - promise.LatencyShare},
	} {
		share, before := fault.fresh/fresh.Requests, 0.0
		if former.Requests >= 1 {
			before = fault.former / former.Requests
		}
		most := max(WorstBurn*fault.allowed, worseThanBefore*before)
		if fault.fresh >= leastWrong && share > most {
			return Verdict{Bad: true, Text: fmt.Sprintf("%s; %.1f %% of the requests %s (limit %.1f %%, previous version %.1f %%)",
				text, 100*share, fault.name, 100*most, 100*before)}
		}
	}
	return Verdict{Text: text + fmt.Sprintf(", %.0f returned 5xx", fresh.Errors)}
}
