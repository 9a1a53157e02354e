package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"platform.example/test/load"
)

// figure is a line of the scorecard.
type figure struct {
	Name  string   `json:"name"`
	Value *float64 `json:"value"` // null if it couldn't be measured
	Unit  string   `json:"unit"`
	Text  string   `json:"text"` // the value for people
	How   string   `json:"how"`  // it was measured
}

func number(name string, value float64, unit, format, how string) figure {
	return figure{name, &value, unit, fmt.Sprintf(format, value), how}
}

// duration is a figure in seconds. It is unknown if value is nil.
func duration(name string, value *time.Duration, unknown, how string) figure {
	if value == nil {
		return figure{name, nil, "s", unknown, how}
	}
	seconds := value.Seconds()
	text := value.Round(time.Millisecond).String()
	if *value >= time.Minute {
		text = value.Round(time.Second).String()
	}
	return figure{name, &seconds, "s", text, how}
}

// measured is what the run has found out.
type measured struct {
	deployment, rollback time.Duration
	released             load.Result // the load during the release and the rollback
	killed               load.Result // the load while pods were deleted
	recoveries           []time.Duration
	delivery             delivery
}

// figures are the lines of the scorecard.
func (m measured) figures() []figure {
	lost := len(m.released.Lost()) + len(m.released.Refused())
	zero := fmt.Sprintf("no: %d of %d requests were lost", lost, len(m.released.Samples))
	if lost == 0 {
		zero = fmt.Sprintf("yes: 0 of %d requests were lost", len(m.released.Samples))
	}
	usual, p95 := average(m.released), m.released.Percentile(0.95)
	all := load.Result{Samples: slices.Concat(m.released.Samples, m.killed.Samples)}
	d := m.delivery
	lines := []figure{
		duration("deployment time", &m.deployment, "", "from the release command to the switch of the last of four services, whose images were compiled before"),
		{"zero downtime", new(float64(lost)), "lost requests", zero, "requests without the expected response, from before the release until after its rollback"},
		duration("rollback time", &m.rollback, "", "from the rollback command to the last response of a version that it took the traffic from"),
		duration("average response time", &usual, "", "all requests during the release and the rollback, from the moment at which each was due"),
		duration("p95 response time", &p95, "", "the same requests: 95 of 100 took at most this long"),
		number("throughput", perSecond(m.released), "requests/s", "%.1f requests/s", "expected responses per second during the release and the rollback"),
		number("error rate", 100*failed(m.released), "%", "%.3f %%", "the share of those requests without the expected response"),
		number("availability", 100*(1-failed(all)), "%", "%.3f %%", "the share of expected responses, including the minutes in which all pods of a service were deleted"),
		number("uptime", 100*uptime(all), "%", "%.2f %%", "the share of the seconds under load with at least one expected response"),
		duration("mean time to recover", mean(m.recoveries), "not measured",
			"from the deletion of all pods of a service to its first expected response after the last lost request; the mean of the services that were deleted"),
		number("deployment frequency", perWeek(d), "per week", "%.1f per week", fmt.Sprintf("%d deployments in the history of releases, rollbacks not counted", d.Deployments)),
		duration("lead time for changes", d.Lead, "unknown: no release has a commit (make tested)",
			"from the commit to the release that has passed its tests with it; the mean of the history"),
	}
	if d.Deployments == 0 {
		return append(lines, figure{"change failure rate", nil, "%", "unknown: no deployment", "the share of deployments that were rolled back"},
			duration("time to restore", nil, "unknown: no deployment", "from a deployment to its rollback; the mean of the history"))
	}
	return append(lines,
		number("change failure rate", 100*float64(d.Failures)/float64(d.Deployments), "%", "%.0f %%", "the share of deployments that were rolled back"),
		duration("time to restore", d.Restore, "no deployment was rolled back", "from a deployment to its rollback; the mean of the history"))
}

// perWeek is the deployments per week of a history, which counts as a day at least.
func perWeek(d delivery) float64 {
	return float64(d.Deployments) / max(d.Span, 24*time.Hour).Hours() * 24 * 7
}

func good(sample load.Sample) bool { return sample.Err == "" }

func average(result load.Result) time.Duration {
	var latencies []time.Duration
	for _, sample := range result.Samples {
		latencies = append(latencies, sample.Latency)
	}
	if found := mean(latencies); found != nil {
		return *found
	}
	return 0
}

// failed is the share of requests without the expected response.
func failed(result load.Result) float64 {
	if len(result.Samples) == 0 {
		return 0
	}
	return float64(len(result.Lost())+len(result.Refused())) / float64(len(result.Samples))
}

func perSecond(result load.Result) float64 {
	span := result.Ended.Sub(result.Began).Seconds()
	if span <= 0 {
		return 0
	}
	return (1 - failed(result)) * float64(len(result.Samples)) / span
}

// uptime is the share of the seconds in which requests were due that have an expected response to one of them.
func uptime(result load.Result) float64 {
	seconds := map[int64]bool{}
	for _, sample := range result.Samples {
		at := sample.At.Unix()
		seconds[at] = seconds[at] || good(sample)
	}
	up := 0
	for _, answered := range seconds {
		if answered {
			up++
		}
	}
	if len(seconds) == 0 {
		return 0
	}
	return float64(up) / float64(len(seconds))
}

// recovery returns how long after at the service gave its first expected response that follows the last lost request, or 0 if no request
// was lost. It returns false if the service gave none.
func recovery(samples []load.Sample, service string, at time.Time) (time.Duration, bool) {
	var lost, first time.Time
	for _, sample := range samples {
		if !sample.ReceivedAt().Before(at) && !good(sample) && sample.At.After(lost) {
			lost = sample.At
		}
	}
	if lost.IsZero() {
		return 0, true
	}
	for _, sample := range samples {
		answers := slices.ContainsFunc(sample.By, func(by load.Origin) bool { return by.Service == service })
		if answered := sample.ReceivedAt(); answers && good(sample) && sample.At.After(lost) && (first.IsZero() || answered.Before(first)) {
			first = answered
		}
	}
	return first.Sub(at), !first.IsZero()
}

// course is the requests per second, the lost ones and the 95th percentile in ms, for each second since began.
func course(samples []load.Sample, began time.Time) (times []float64, requests, lost, p95 []*float64) {
	seconds := map[int][]load.Sample{}
	for _, sample := range samples {
		at := int(sample.At.Sub(began).Seconds())
		seconds[at] = append(seconds[at], sample)
	}
	for _, at := range slices.Sorted(maps.Keys(seconds)) {
		result := load.Result{Samples: seconds[at]}
		times = append(times, float64(at))
		requests = append(requests, new(float64(len(result.Samples))))
		lost = append(lost, new(float64(len(result.Lost())+len(result.Refused()))))
		p95 = append(p95, new(math.Round(result.Percentile(0.95).Seconds()*1e4)/10))
	}
	return times, requests, lost, p95
}
