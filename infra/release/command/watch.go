package command

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// watcher queries the platform's Prometheus.
type watcher struct {
	session *session
	forward forward
	every   time.Duration // interval of checks
	away    time.Duration // how long Prometheus may be unreachable
	api     prometheus.API
	stop    context.CancelFunc // nil without a connection
}

// forward forwards a local port to Prometheus until ctx is done or the connection is lost.
type forward func(ctx context.Context) (port int, err error)

const (
	lookEvery = 5 * time.Second
	awayTime  = time.Minute // time for Prometheus or the API server to restart
	// leastWatch is the time after the switch until Prometheus, which scrapes every 15 s, has two samples of the new colour. With
	// fewer samples, increase() is 0.
	leastWatch = 35 * time.Second
)

// openWatcher connects to Prometheus and sends it a test query.
func (s *session) openWatcher(ctx context.Context) (*watcher, error) {
	w := &watcher{session: s, every: lookEvery, away: awayTime, forward: func(ctx context.Context) (int, error) {
		port, _, err := s.cluster.Forward(ctx, namespace.Monitoring, network.Prometheus, 0, network.PrometheusPort)
		return port, err
	}}
	return w, w.open(ctx)
}

func (w *watcher) open(ctx context.Context) error {
	var forwarding context.Context
	forwarding, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	port, err := w.forward(forwarding)
	if err == nil {
		var client api.Client
		client, err = api.NewClient(api.Config{Address: fmt.Sprintf("http://127.0.0.1:%d", port)})
		w.api = prometheus.NewAPI(client)
	}
	if err != nil {
		err = fmt.Errorf("Prometheus: %w", err) //nolint:revive,staticcheck // a name
	} else {
		_, err = w.number(ctx, "vector(1)", time.Now())
	}
	if err != nil {
		w.close()
	}
	return err
}

func (w *watcher) close() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// number returns the value of an expression, or 0 without one.
func (w *watcher) number(ctx context.Context, expression string, at time.Time) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	value, _, err := w.api.Query(ctx, expression, at)
	if err != nil {
		return 0, fmt.Errorf("Prometheus: %w", err) //nolint:revive,staticcheck // a name
	}
	if vector, ok := value.(model.Vector); ok && len(vector) > 0 && !math.IsNaN(float64(vector[0].Value)) {
		return float64(vector[0].Value), nil
	}
	return 0, nil
}

// quantile is the query for a quantile of the duration of requests, in seconds.
func quantile(share float64, metrics rule.Requests, matchers, window string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le) (rate(%s_bucket{%s}[%s])))", share, metrics.Duration, matchers, window)
}

// matching returns the label matchers of a service's metrics of users' requests, in all colours if colour is empty.
func matching(service catalog.Service, colour string) string {
	if colour == "" {
		return fmt.Sprintf("job=%q%s", service.Name, rule.OfUsers(service))
	}
	return fmt.Sprintf("job=%q, colour=%q%s", service.Name, colour, rule.OfUsers(service))
}

// measured counts the requests to a colour in the span before at, or to all colours.
func (w *watcher) measured(ctx context.Context, service catalog.Service, colour string, at time.Time, span time.Duration) (release.Measured, error) {
	metrics, matchers := rule.RequestsOf(service), matching(service, colour)
	window := fmt.Sprintf("%ds", int(span.Seconds()))
	sum := func(metric, more string) string {
		return fmt.Sprintf("sum(increase(%s{%s%s}[%s]))", metric, matchers, more, window)
	}
	within := fmt.Sprintf(`, le=%q`, rule.Bound(service.Objectives.Latency))
	var result release.Measured
	var fast, seconds float64
	for expression, target := range map[string]*float64{
		sum(metrics.Total, ""):                    &result.Requests,
		sum(metrics.Failed, ""):                   &result.Errors,
		sum(metrics.Duration+"_bucket", within):   &fast,
		quantile(0.99, metrics, matchers, window): &seconds,
	} {
		number, err := w.number(ctx, expression, at)
		if err != nil {
			return result, err
		}
		*target = number
	}
	result.Slow = max(0, result.Requests-fast)
	result.P99 = time.Duration(seconds * float64(time.Second))
	return result, nil
}

// traffic counts the requests to the public service during a release.
func (w *watcher) traffic(ctx context.Context, began, ended time.Time) (report.Traffic, error) {
	service, span := catalog.Public(slices.Collect(maps.Values(w.session.services))), max(time.Second, ended.Sub(began))
	all, err := w.measured(ctx, service, "", ended, span)
	if err != nil {
		return report.Traffic{}, err
	}
	window := fmt.Sprintf("%ds", int(span.Seconds()))
	p95, err := w.number(ctx, quantile(0.95, rule.RequestsOf(service), matching(service, ""), window), ended)
	return report.Traffic{Requests: all.Requests, Failed: all.Errors, P95: 1000 * p95}, err
}

// watch judges the new colours for the span, and returns early once one is bad. It compares them with the objectives and with the old
// colours in an equal span before the switch. It reconnects if the connection to Prometheus is lost.
func (w *watcher) watch(ctx context.Context, moves []report.Service, span time.Duration) (verdict release.Verdict, err error) {
	began := time.Now()
	lastSuccess := began
	for {
		select {
		case <-ctx.Done():
			return verdict, context.Cause(ctx)
		case <-time.After(w.every):
		}
		verdict, err = w.judge(ctx, moves, span)
		if ctx.Err() != nil {
			return verdict, context.Cause(ctx)
		}
		if err != nil {
			if time.Since(lastSuccess) >= w.away {
				return verdict, err
			}
			w.session.out.log("can't query Prometheus, retrying: %v", err)
			w.close()
			_ = w.open(ctx) // the next query reports the error
			continue
		}
		lastSuccess = time.Now()
		w.session.out.wait("watching: " + verdict.Text)
		if verdict.Bad || lastSuccess.Sub(began) >= span {
			return verdict, nil
		}
	}
}

// judge returns the verdict of the new colours since their switch. Its text has the bad ones, or all if none is bad.
func (w *watcher) judge(ctx context.Context, moves []report.Service, span time.Duration) (verdict release.Verdict, err error) {
	now := time.Now()
	var good, bad []string
	for _, move := range moves {
		service := w.session.services[move.Name]
		fresh, err := w.measured(ctx, service, move.ToColour, now, now.Sub(move.Switched))
		if err != nil {
			return verdict, err
		}
		former, err := w.measured(ctx, service, move.FromColour, move.Switched, max(span, time.Minute))
		if err != nil {
			return verdict, err
		}
		one := release.Judge(move.Name, release.Colour(move.ToColour), fresh, former, service.Objectives)
		if one.Bad {
			bad = append(bad, one.Text)
		} else {
			good = append(good, one.Text)
		}
		w.session.out.emit(map[string]any{"service": move.Name, "colour": move.ToColour, "requests": fresh.Requests,
			"errors": fresh.Errors, "slow": fresh.Slow, "p99_seconds": fresh.P99.Seconds(), "bad": one.Bad})
	}
	return release.Verdict{Text: cmp.Or(strings.Join(bad, "; "), strings.Join(good, "; ")), Bad: len(bad) > 0}, nil
}

// watchTime returns and logs the span of the watch, which is at least leastWatch.
func (s *session) watchTime(span time.Duration) time.Duration {
	if span < leastWatch {
		s.out.log("watching for %s, the minimum: Prometheus needs two scrapes of the new version", leastWatch)
		return leastWatch
	}
	s.out.log("watching for %s", span)
	return span
}

const (
	beforehand = 2 * time.Minute // time that a report shows before the release
	rateWindow = "30s"           // at least two scrapes
)

// measure adds measurements from Prometheus to a report.
func (s *session) measure(ctx context.Context, result *report.Report) error {
	if len(result.Services) == 0 {
		return nil
	}
	w, err := s.openWatcher(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	if result.Traffic, err = w.traffic(ctx, result.Began, result.Ended); err != nil {
		return err
	}
	span := prometheus.Range{Start: result.Began.Add(-beforehand), End: time.Now(), Step: 5 * time.Second}
	for i, moved := range result.Services {
		service := s.services[moved.Name]
		metrics := rule.RequestsOf(service)
		for _, colour := range []release.Colour{release.Blue, release.Green} {
			matchers := matching(service, string(colour))
			for _, plot := range []struct {
				report.Series
				expression string
			}{
				{report.Series{Plot: report.Requests, Unit: "requests/s"}, fmt.Sprintf("sum(rate(%s{%s}[%s]))", metrics.Total, matchers, rateWindow)},
				{report.Series{Plot: report.Errors, Unit: "errors/s"}, fmt.Sprintf("sum(rate(%s{%s}[%s])) or 0 * sum(rate(%s{%[2]s}[%[3]s]))",
					metrics.Failed, matchers, rateWindow, metrics.Total)},
				{report.Series{Plot: report.Latency, Unit: "s", Objective: service.Objectives.Latency.Seconds()},
					quantile(0.99, metrics, matchers, rateWindow)},
			} {
				plot.Service, plot.Colour = service.Name, string(colour)
				if plot.Points, err = w.line(ctx, plot.expression, span); err != nil {
					return err
				}
				result.Series = append(result.Series, plot.Series)
			}
		}
		last, err := w.number(ctx, "max(max_over_time(service_last_answer_timestamp_seconds{"+matching(service, moved.FromColour)+"}[1m]))", time.Now())
		if at := time.UnixMilli(int64(last * 1000)); err == nil && last > 0 && at.After(moved.Switched.Add(-time.Minute)) {
			result.Services[i].LastOld = at
		}
	}
	return nil
}

// line returns the values of an expression over time.
func (w *watcher) line(ctx context.Context, expression string, span prometheus.Range) ([]report.Point, error) {
	value, _, err := w.api.QueryRange(ctx, expression, span)
	if err != nil {
		return nil, fmt.Errorf("Prometheus: %w", err) //nolint:revive,staticcheck // a name
	}
	matrix, _ := value.(model.Matrix)
	if len(matrix) == 0 {
		return nil, nil
	}
	return slice.Map(matrix[0].Values, func(sample model.SamplePair) report.Point {
		return report.NewPoint(sample.Timestamp.Time(), float64(sample.Value))
	}), nil
}
