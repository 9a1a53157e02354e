package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// watcher asks the platform's Prometheus.
type watcher struct {
	session *session
	forward forward
	every   time.Duration // between two looks
	away    time.Duration // how long Prometheus may be out of reach
	api     prometheus.API
	stop    context.CancelFunc // nil while nothing leads there
	ended   chan error
}

// forward leads from a port of this machine to Prometheus, until ctx is done or the way is lost, and calls ready with the port once
// it does.
type forward func(ctx context.Context, ready func(port int)) error

const (
	openTime  = 15 * time.Second // to get through to Prometheus
	lookEvery = 5 * time.Second
	awayTime  = time.Minute // time for Prometheus or the API server to start again
	// leastWatch is when Prometheus, which counts every 15 s, has counted twice since the switch, and so knows a difference.
	// Until then it knows of no requests, whatever the new colour was asked.
	leastWatch = 35 * time.Second
)

// openWatcher leads to Prometheus, and is an error unless it answers.
func (s *session) openWatcher(ctx context.Context) (*watcher, error) {
	w := &watcher{session: s, every: lookEvery, away: awayTime, forward: func(ctx context.Context, ready func(int)) error {
		return s.cluster.Forward(ctx, namespace.Monitoring, network.Prometheus, 0, network.PrometheusPort, ready)
	}}
	return w, w.open(ctx)
}

func (w *watcher) open(ctx context.Context) (err error) {
	forwarding, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop, w.ended = stop, make(chan error, 1)
	ready := make(chan int, 1)
	go func() { w.ended <- w.forward(forwarding, func(port int) { ready <- port }) }()
	select {
	case port := <-ready:
		var client api.Client
		if client, err = api.NewClient(api.Config{Address: fmt.Sprintf("http://127.0.0.1:%d", port)}); err == nil {
			w.api = prometheus.NewAPI(client)
			_, err = w.number(ctx, "vector(1)", time.Now())
		}
	case err = <-w.ended:
		err = fmt.Errorf("Prometheus: %w", err) //nolint:revive,staticcheck // a name
		w.ended <- err
	case <-time.After(openTime):
		err = errors.New("Prometheus can't be reached") //nolint:revive,staticcheck // a name
	}
	if err != nil {
		w.close()
	}
	return err
}

func (w *watcher) close() {
	if w.stop == nil {
		return
	}
	w.stop()
	<-w.ended
	w.stop = nil
}

// number is the value of an expression that yields one; 0 where it yields none.
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

// measured is what a colour was asked in a span of time, by Prometheus' counters.
func (w *watcher) measured(ctx context.Context, service catalog.Service, colour string, at time.Time, span time.Duration) (release.Measured, error) {
	metrics := rule.RequestsOf(service)
	matchers := fmt.Sprintf(`job=%q, colour=%q`, service.Name, colour)
	window := fmt.Sprintf("[%ds]", int(span.Seconds()))
	sum := func(metric, more string) string {
		return fmt.Sprintf("sum(increase(%s{%s%s}%s))", metric, matchers, more, window)
	}
	within := fmt.Sprintf(`, le=%q`, rule.Bound(service.Objectives.Latency))
	var got release.Measured
	var fast, seconds float64
	for expression, into := range map[string]*float64{
		sum(metrics.Total, ""):                  &got.Requests,
		sum(metrics.Failed, ""):                 &got.Errors,
		sum(metrics.Duration+"_bucket", within): &fast,
		fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(%s_bucket{%s}%s)))", metrics.Duration, matchers, window): &seconds,
	} {
		number, err := w.number(ctx, expression, at)
		if err != nil {
			return got, err
		}
		*into = number
	}
	got.Slow = max(0, got.Requests-fast)
	got.P99 = time.Duration(seconds * float64(time.Second))
	return got, nil
}

// verdict is what was found of all services.
type verdict []release.Verdict

func (v verdict) good() bool { return !slices.ContainsFunc(v, release.Verdict.Bad) }

// String is what is wrong; where nothing is, how well all do.
func (v verdict) String() string {
	var bad, good string
	for _, one := range v {
		if one.Bad() {
			bad += "; " + one.String()
		} else {
			good += "; " + one.String()
		}
	}
	if bad != "" {
		return bad[2:]
	}
	return good[min(2, len(good)):]
}

// watch looks at the new colours for a time, and ends early where one is bad. What it is held against is the objective, and
// what the old colour did in as long a time before the switch. Where the way to Prometheus is lost, it looks for another one.
func (w *watcher) watch(ctx context.Context, moves []report.Service, span time.Duration) (verdict, error) {
	began := time.Now()
	seen := began
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(w.every):
		}
		found, err := w.judge(ctx, moves, span)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			if time.Since(seen) >= w.away {
				return nil, err
			}
			w.session.out.say("can't see the new version, looking again: %v", err)
			w.close()
			_ = w.open(ctx) // unless it succeeds, the next look says why
			continue
		}
		seen = time.Now()
		w.session.out.underWay("watching: " + found.String())
		if !found.good() || seen.Sub(began) >= span {
			return found, nil
		}
	}
}

// judge holds what the new colours have done so far against what they promise.
func (w *watcher) judge(ctx context.Context, moves []report.Service, span time.Duration) (found verdict, err error) {
	now := time.Now()
	for _, move := range moves {
		service := w.session.services[move.Name]
		fresh, err := w.measured(ctx, service, move.ToColour, now, now.Sub(move.Switched))
		if err != nil {
			return nil, err
		}
		former, err := w.measured(ctx, service, move.FromColour, move.Switched, max(span, time.Minute))
		if err != nil {
			return nil, err
		}
		one := release.Judge(move.Name, release.Colour(move.ToColour), fresh, former, release.Promise{
			Availability: service.Objectives.Availability, Latency: service.Objectives.Latency, LatencyShare: service.Objectives.LatencyShare,
		})
		found = append(found, one)
		w.session.out.give(map[string]any{"service": move.Name, "colour": move.ToColour, "requests": fresh.Requests,
			"errors": fresh.Errors, "slow": fresh.Slow, "p99_seconds": fresh.P99.Seconds(), "bad": one.Bad()})
	}
	return found, nil
}

// watchTime is how long a watch lasts that is to last for a span, and says so.
func (s *session) watchTime(span time.Duration) time.Duration {
	if span < leastWatch {
		s.out.say("watching for %s: before that Prometheus has nothing to tell", leastWatch)
		return leastWatch
	}
	s.out.say("watching for %s", span)
	return span
}
