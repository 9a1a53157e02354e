// Package load sends requests to the platform like its users, at a steady rate, and reports whether any of them was lost.
//
// It is open-loop: each request is sent at its scheduled time, regardless of the others, and its latency counts from that
// time. If the platform stalls for a second, all requests of that second show it, not only one.
package load

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// The limits of a run. Its access tokens are valid for 15 minutes and aren't renewed.
const (
	maxRate     = 5000 // requests per second
	maxDuration = 14 * time.Minute
	maxRequests = 1_000_000 // each takes some 200 bytes of memory
	maxUsers    = 200
	maxInFlight = 2000
)

// Options are the options of a run. A zero value selects the default.
type Options struct {
	BaseURL        string         // address of the API, such as https://localhost:30443; must be on this machine
	RootCAs        *x509.CertPool // certificate authorities of the server; default: the system's
	Rate           float64        // requests per second, at most 5000; default: 100
	Duration       time.Duration  // duration unless the run is stopped earlier, at most 14 minutes; default: 1 minute
	Users          int            // number of users, who send in turn, at most 200; default: enough for the gateway's default limit per user
	NewConnections float64        // the share of requests that open a new connection, at most 1; below 0: none; default: 0.1
	InFlight       int            // maximum requests in flight, at most 2000; requests above it are lost; default: 2000
}

// perUser is the requests per minute of one user with the default number of users: three quarters of the gateway's default limit
// (REQUESTS_PER_MINUTE), so that the gateway's estimate of the last minute stays below the limit, too.
const perUser = 900

// checked returns the options with defaults, or an error that lists all values out of bounds.
func (o Options) checked() (Options, *url.URL, error) {
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Duration == 0 {
		o.Duration = time.Minute
	}
	if o.NewConnections == 0 {
		o.NewConnections = 0.1
	}
	if o.InFlight == 0 {
		o.InFlight = maxInFlight
	}
	var faults []error
	fault := func(is bool, format string, args ...any) {
		if is {
			faults = append(faults, fmt.Errorf("load: "+format, args...))
		}
	}
	fault(!(o.Rate > 0 && o.Rate <= maxRate), "a rate of %g requests/s: want more than 0 and at most %d", o.Rate, maxRate)
	fault(o.Duration < 0 || o.Duration > maxDuration, "for %s: want more than 0 and at most %s", o.Duration, maxDuration)
	fault(!(o.NewConnections <= 1), "a share of %g over new connections: want at most 1", o.NewConnections)
	fault(o.InFlight < 0 || o.InFlight > maxInFlight, "%d requests in flight: want at most %d", o.InFlight, maxInFlight)
	if o.Users == 0 {
		o.Users = max(8, int(math.Ceil(o.Rate*60/perUser)))
		o.Users = min(o.Users, maxUsers)
	}
	fault(o.Users < 0 || o.Users > maxUsers, "%d users: want at most %d", o.Users, maxUsers)
	fault(o.requests() > maxRequests, "%g requests/s for %s: want at most %d requests in all", o.Rate, o.Duration, maxRequests)
	base, err := local(o.BaseURL)
	return o, base, errors.Join(append(faults, err)...)
}

// requests returns the number of requests in a complete run.
func (o Options) requests() int { return int(math.Ceil(o.Rate * o.Duration.Seconds())) }

// due returns the scheduled time of request i.
func (o Options) due(began time.Time, i int) time.Time {
	return began.Add(time.Duration(float64(i) / o.Rate * float64(time.Second)))
}

// Run is a running load.
type Run struct {
	options     Options
	base        *url.URL
	kept, fresh *http.Client // with kept connections, and with one connection per request
	origins     origins
	users       []*user
	began       time.Time
	stop        context.CancelFunc
	done        chan struct{}
	ended       time.Time // valid once done is closed

	mu      sync.Mutex
	samples []Sample
}

// Start signs up the users, one after the other, and starts to send. The run ends after the Duration, or earlier at Stop or when ctx
// is done; requests in flight are completed. Settle removes what Start has created, as far as possible; if Start fails, it does
// so itself.
func Start(ctx context.Context, options Options) (*Run, error) {
	options, base, err := options.checked()
	if err != nil {
		return nil, err
	}
	r := &Run{
		options: options, base: base, done: make(chan struct{}),
		kept: newClient(options.RootCAs, true), fresh: newClient(options.RootCAs, false),
	}
	for range options.Users {
		u, err := r.signUp(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("load: %w", err), r.removeUsers(ctx))
		}
		r.users = append(r.users, u)
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.began = time.Now()
	go r.drive(ctx)
	return r, nil
}

// Done is closed when the last request is complete.
func (r *Run) Done() <-chan struct{} { return r.done }

// Stop stops sending, waits for the requests in flight, 15 s at most, and returns the results of all requests.
func (r *Run) Stop() Result {
	r.stop()
	<-r.done
	return Result{Began: r.began, Ended: r.ended, PerUser: r.perUser(), Samples: r.Samples(0)}
}

// Samples returns the results of the completed requests in the order of their completion, starting with number first.
func (r *Run) Samples(first int) []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Sample(nil), r.samples[min(first, len(r.samples)):]...)
}

func (r *Run) record(s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

// perUser returns the requests per minute of each user.
func (r *Run) perUser() float64 { return r.options.Rate * 60 / float64(len(r.users)) }

// drive sends each request at its time.
func (r *Run) drive(ctx context.Context) {
	defer close(r.done)
	defer r.stop()
	var sent sync.WaitGroup
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	inFlight := make(chan struct{}, r.options.InFlight)
	for i := range r.options.requests() {
		due := r.options.due(r.began, i)
		if !wait(ctx, time.Until(due)) {
			break
		}
		chosen := r.choose(random, i)
		select {
		case inFlight <- struct{}{}:
			sent.Go(func() {
				defer func() { <-inFlight }()
				r.record(r.send(context.WithoutCancel(ctx), chosen, due))
			})
		default:
			r.record(Sample{At: due, Kind: chosen.kind, Latency: time.Since(due),
				Err: fmt.Sprintf("not sent: %d requests were in flight", r.options.InFlight)})
		}
	}
	sent.Wait()
	r.kept.CloseIdleConnections()
	r.ended = time.Now()
}

// wait reports whether the time was reached before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
