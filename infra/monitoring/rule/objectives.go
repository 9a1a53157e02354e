package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// The windows of recorded shares.
var (
	shortWindows = []string{"30m", "1h", "6h"}
	longWindows  = []string{"3d", "30d"}
)

// longInterval is the evaluation interval of the long windows, which read weeks of samples. It is shorter than 5 min, after which
// Prometheus considers a sample stale.
const longInterval = 2 * time.Minute

// burn is a burn rate of an error budget: 1 spends it in 30 days. Factors and windows are those of Google's Site Reliability Workbook,
// chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
type burn struct {
	label       string
	factor      float64
	long, short string
	loses       string // the share of the budget that it spends within long
}

var (
	fastBurns = []burn{
		{"fast", 14.4, "1h", "5m", "2 % of the budget of 30 days within an hour"},
		{"medium", 6, "6h", "30m", "5 % of the budget of 30 days within six hours"},
	}
	slowBurn = burn{"slow", 1, "3d", "6h", "10 % of the budget of 30 days within three days"}
)

// leastMissed is the minimum number of missed requests for an alert. With little traffic, one request is a large share.
const leastMissed = 10

// promise is one of a service's two objectives.
type promise struct {
	alert             string
	ratio, missed     string // recorded share and rate of the requests that miss it
	objective, budget string // recorded series
	missing           string // describes requests that miss it
}

var promises = []promise{
	{"AvailabilityBudgetBurn", "job:errors:ratio_rate", "job:errors:rate5m",
		"job:objective:availability", "job:error_budget:remaining", "failed with 5xx"},
	{"LatencyBudgetBurn", "job:slow:ratio_rate", "job:slow:rate5m",
		"job:objective:latency_share", "job:latency_budget:remaining", "took longer than the objective"},
}

// objectives records the short windows, and alerts on fast burn rates.
func objectives(services []catalog.Service) Group {
	group := Group{Name: "objectives"}
	for _, service := range withEdge(services) {
		group.Records = append(group.Records, promised(service)...)
		group.Records = append(group.Records, counted(services, service)...)
	}
	for _, promise := range promises {
		group.Records = append(group.Records, Record{Name: promise.ratio + "5m",
			Expr: fmt.Sprintf("%s / (job:requests:rate5m > 0)", promise.missed)})
		group.Records = append(group.Records, promise.averages(shortWindows)...)
		for _, severity := range severities(services) {
			for _, burn := range fastBurns {
				alert := promise.alertOf(burn, severity, loud(withEdge(services), severity))
				alert.Expr += unlessOutage(services, burn.short)
				group.Alerts = append(group.Alerts, alert)
			}
		}
	}
	return group
}

// longObjectives records the long windows and the remaining budgets, and alerts on slow burn rates.
func longObjectives() Group {
	group := Group{Name: "objectives-long", Interval: longInterval}
	for _, promise := range promises {
		group.Records = append(group.Records, promise.averages(longWindows)...)
		// Without requests in 30 days the budget is unspent.
		group.Records = append(group.Records, Record{Name: promise.budget,
			Expr: fmt.Sprintf("1 - (%s30d or 0 * %s) / (1 - %s)", promise.ratio, promise.objective, promise.objective)})
		group.Alerts = append(group.Alerts, promise.alertOf(slowBurn, catalog.Ticket, ".+"))
	}
	return group
}

// promised records the objectives of the catalog.
func promised(service catalog.Service) []Record {
	constant := func(name string, value float64) Record {
		return Record{Name: name, Expr: fmt.Sprintf("vector(%s)", number(value)), Labels: map[string]string{"job": service.Name}}
	}
	return []Record{
		constant("job:objective:availability", service.Objectives.Availability),
		constant("job:objective:latency_share", service.Objectives.LatencyShare),
	}
}

// withEdge adds the edge, which has the objectives of the public service. It accounts for the requests that the public service doesn't see.
func withEdge(services []catalog.Service) []catalog.Service {
	if public := catalog.Public(services); public.Public {
		return append(slices.Clip(services), catalog.Service{Name: network.Edge, Objectives: public.Objectives})
	}
	return services
}

// counted records the rates of users' requests to a service: the total, the failures (5xx), the slow ones, and the rates by colour.
func counted(services []catalog.Service, service catalog.Service) []Record {
	total, failed, slow := seen(services, service)
	metrics, users := RequestsOf(service), OfUsers(service)+`, colour!=""`
	rate := func(metric string) string {
		return fmt.Sprintf(`sum by (job, colour) (rate(%s{job="%s"%s}[5m]))`, metric, service.Name, users)
	}
	records := []Record{
		{Name: "job:requests:rate5m", Expr: total + " or vector(0)"},
		{Name: "job:errors:rate5m", Expr: failed + " or vector(0)"},
		{Name: "job:slow:rate5m", Expr: fmt.Sprintf("clamp_min(%s, 0)", slow)},
	}
	if service.Name != network.Edge {
		records = append(records, Record{Name: "job_colour:requests:rate5m", Expr: rate(metrics.Total)},
			Record{Name: "job_colour:errors:ratio_rate5m", Expr: fmt.Sprintf(
				`(%s or 0 * job_colour:requests:rate5m{job="%s"}) / (job_colour:requests:rate5m{job="%s"} > 0)`,
				rate(metrics.Failed), service.Name, service.Name)})
	}
	for i := range records {
		records[i].Labels = map[string]string{"job": service.Name}
	}
	return records
}

// seen returns the rates of users' requests to a service, counted as close to the users as possible. The public service counts its requests
// and the requests to each service that it calls. The edge counts the requests that the public service has not counted. Other services
// count theirs. A failure then counts once, for the service at fault.
func seen(services []catalog.Service, service catalog.Service) (total, failed, slow string) {
	at := func(metrics Requests, matchers, failures string) (total, failed, slow string) {
		rate := func(metric, more string) string {
			return fmt.Sprintf("sum(rate(%s{%s%s}[5m]))", metric, matchers, more)
		}
		return rate(metrics.Total, ""), rate(metrics.Failed, failures), fmt.Sprintf("%s - %s",
			rate(metrics.Duration+"_count", ""), rate(metrics.Duration+"_bucket", fmt.Sprintf(`, le="%s"`, Bound(service.Objectives.Latency))))
	}
	public := catalog.Public(services)
	job := fmt.Sprintf(`job="%s"`, public.Name)
	switch {
	case service.Name == network.Edge:
		_, theirs, theirSlow := at(RequestsOf(public), job, "")
		total, failed, slow = at(Requests{edgeRequests, edgeRequests, edgeDuration}, https, `, code=~"5.."`)
		return total, fmt.Sprintf("clamp_min(%s - (%s or vector(0)), 0)", failed, theirs), fmt.Sprintf("%s - (%s)", slow, theirSlow)
	case public.Name == service.Name || slices.Contains(public.Calls, service.Name):
		return at(RequestsOf(public), fmt.Sprintf(`%s, service="%s"`, job, service.Name), "")
	}
	return at(RequestsOf(service), fmt.Sprintf(`job="%s"%s`, service.Name, OfUsers(service)), "")
}

// averages records the share over each window. It divides averages instead of averaging shares, so that each request counts the same.
func (p promise) averages(windows []string) []Record {
	var records []Record
	for _, window := range windows {
		records = append(records, Record{Name: p.ratio + window, Expr: fmt.Sprintf(
			"avg_over_time(%s[%s]) / (avg_over_time(job:requests:rate5m[%s]) > 0)", p.missed, window, window)})
	}
	return records
}

// alertOf fires while the budget of one of these jobs burns that fast in both windows. The long window avoids alerts on short peaks,
// and the short window ends the alert soon after the cause.
func (p promise) alertOf(b burn, severity catalog.Severity, jobs string) Alert {
	exceeds := func(window string) string {
		return fmt.Sprintf(`%s%s{job=~"%s"} > on (job) %s * (1 - %s)`, p.ratio, window, jobs, number(b.factor), p.objective)
	}
	return Alert{
		Name: p.alert,
		// The number of missed requests is a sum, not the average times the window: a new Prometheus has seen only a part of the window. A longer
		// step would delay the alert by as much.
		Expr:     fmt.Sprintf("%s\nand on (job) %s\nand on (job) sum_over_time(%s[%s:1m]) * 60 >= %d", exceeds(b.long), exceeds(b.short), p.missed, b.long, leastMissed),
		For:      map[bool]time.Duration{true: 15 * time.Minute, false: time.Minute}[b.label == slowBurn.label],
		Severity: severity,
		Labels:   map[string]string{"burn": b.label},
		Summary:  fmt.Sprintf("{{ $labels.job }}: too many requests %s", p.missing),
		Description: fmt.Sprintf("{{ $value | humanizePercentage }} of the requests of the last %s %s. That is more than %s times the share "+
			"that the objective allows, and spends %s.", b.long, p.missing, number(b.factor), b.loses),
	}
}

// unlessOutage excludes a job if another alert on its outage has fired within the window. An outage of the public service is also an outage
// of the edge.
func unlessOutage(services []catalog.Service, window string) string {
	fired := func(alerts, more string) string {
		return fmt.Sprintf(`max_over_time(ALERTS{alertname=~"%s", alertstate="firing"%s}[%s])`, alerts, more, window)
	}
	const ofService = "ServiceDown|LiveColourDown|BreakerOpen|EdgeDown|EdgeFailing|EdgeUnreachable"
	expr := "\nunless on () " + fired("PostgresDown|DnsDown", "") + "\nunless on (job) " + fired(ofService, "")
	if public := catalog.Public(services); public.Public {
		expr += fmt.Sprintf("\nunless on (job) label_replace(max(%s), \"job\", \"%s\", \"\", \"\")",
			fired(ofService, fmt.Sprintf(`, job="%s"`, public.Name)), network.Edge)
	}
	return expr
}

func number(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }

// Bound formats a latency as the label le of Prometheus 3: 0.25, and 1.0 for 1.
func Bound(latency time.Duration) string {
	text := number(latency.Seconds())
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
