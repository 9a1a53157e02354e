package main

import (
	"context"
	"fmt"
	"time"

	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"platform.example/infra/monitoring/rule"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

const (
	beforehand = 2 * time.Minute // time that a report shows before the release
	rateWindow = "30s"           // at least two scrapes
)

// measure adds measurements from Prometheus to a report. Without Prometheus, the report has none.
func (s *session) measure(ctx context.Context, result *report.Report) {
	if len(result.Services) == 0 {
		return
	}
	w, err := s.openWatcher(ctx)
	if err != nil {
		s.out.say("the report has no measurements: %v", err)
		return
	}
	defer w.close()
	span := prometheus.Range{Start: result.Began.Add(-beforehand), End: time.Now(), Step: 5 * time.Second}
	for i, moved := range result.Services {
		service := s.services[moved.Name]
		metrics := rule.RequestsOf(service)
		for _, colour := range []release.Colour{release.Blue, release.Green} {
			matchers := fmt.Sprintf(`{job=%q, colour=%q}`, service.Name, colour)
			for _, plot := range []report.Series{
				{Plot: report.Requests, Unit: "1/s"},
				{Plot: report.Errors, Unit: "1/s"},
				{Plot: report.Latency, Unit: "s", Objective: service.Objectives.Latency.Seconds()},
			} {
				expression := map[report.Plot]string{
					report.Requests: fmt.Sprintf("sum(rate(%s%s[%s]))", metrics.Total, matchers, rateWindow),
					report.Errors: fmt.Sprintf("sum(rate(%s%s[%s])) or 0 * sum(rate(%s%[2]s[%[3]s]))",
						metrics.Failed, matchers, rateWindow, metrics.Total),
					report.Latency: fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(%s_bucket%s[%s])))", metrics.Duration, matchers, rateWindow),
				}[plot.Plot]
				plot.Service, plot.Colour = service.Name, string(colour)
				if plot.Points, err = w.line(ctx, expression, span); err != nil {
					s.out.say("the report has no measurements: %v", err)
					return
				}
				result.Series = append(result.Series, plot)
			}
		}
		last, err := w.number(ctx, fmt.Sprintf("max(max_over_time(service_last_answer_timestamp_seconds{job=%q, colour=%q}[1m]))",
			service.Name, moved.FromColour), time.Now())
		if at := time.UnixMilli(int64(last * 1000)); err == nil && last > 0 && at.After(moved.Switched.Add(-time.Minute)) {
			result.Services[i].LastOld = at
		}
	}
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
	var points []report.Point
	for _, sample := range matrix[0].Values {
		points = append(points, report.NewPoint(sample.Timestamp.Time(), float64(sample.Value)))
	}
	return points, nil
}
