// Package load uses the platform as its users do, at a steady rate, and tells whether anything they asked for was lost.
//
// It is open-loop: each request is sent at the time that was set for it, whatever has become of the others, and its
// latency is counted from that time. A platform that stands still for a second is therefore seen by all requests of that
// second, and not by one.
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

// The bounds of a run. Its access tokens last 15 minutes and aren't renewed.
const (
	maxRate     = 5000 // requests a second
	maxDuration = 14 * time.Minute
	maxRequests = 1_000_000 // some 200 bytes each are kept of them
	maxUsers    = 200
	maxInFlight = 2000
)

// Options is what a run does. A zero value stands for the default.
type Options struct {
	BaseURL        string         // where the API is, such as https://localhost:30443; on this machine, or it is refused
	RootCAs        *x509.CertPool // who vouches for the server; default: whom the system trusts
	Rate           float64        // requests a second, at most 5000; default: 100
	Duration       time.Duration  // when the run ends if nobody stops it, at most 14 minutes; default: 1 minute
	Users          int            // who send the requests in turn, at most 200; default: as many as the gateway's usual limit takes
	NewConnections float64        // the share of requests that open a connection each, at most 1; below 0: none; default: 0.1
	InFlight       int            // how many requests may be unanswered, at most 2000; what would be more is lost; default: 2000
}

// perUser is how many requests a minute one user sends where the number of users isn't chosen: three quarters of what the
// gateway lets one send by default (REQUESTS_PER_MINUTE), so that its estimate of the last minute stays below that, too.
const perUser = 900

// checked is the options with their defaults, if they are within bounds.
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

// requests is how many there are in a whole run.
func (o Options) requests() int { return int(math.Ceil(o.Rate * o.Duration.Seconds())) }

// due is when the request number i is sent.
func (o Options) due(began time.Time, i int) time.Time {
	return began.Add(time.Duration(float64(i) / o.Rate * float64(time.Second)))
}

// Run is a load that is being sent.
type Run struct {
	options     Options
	base        *url.URL
	kept, fresh *http.Client // over connections that are kept, and over one for each request
	origins     origins
	users       []*user
	began       time.Time
	stop        context.CancelFunc
	done        chan struct{}
	ended       time.Time // once done is closed

	mu      sync.Mutex
	samples []Sample
}

// Start signs up the users, one after the other, and begins to send. It ends by itself after the Duration, or earlier by
// Stop or once ctx is done; requests that were sent by then get their answer. Of what Start makes, Settle removes what
// can be removed; where Start fails, it does so itself.
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

// Done is closed when the last request is answered.
func (r *Run) Done() <-chan struct{} { return r.done }

// Stop sends no more, waits for the answers, 15 s at most, and returns what became of all requests.
func (r *Run) Stop() Result {
	r.stop()
	<-r.done
	return Result{Began: r.began, Ended: r.ended, PerUser: r.perUser(), Samples: r.Samples(0)}
}

// Samples is what became of the requests that are done, in the order in which they were, from number first on.
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

// perUser is how many requests a minute each user sends.
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
				Err: fmt.Sprintf("not sent: %d requests were unanswered", r.options.InFlight)})
		}
	}
	sent.Wait()
	r.kept.CloseIdleConnections()
	r.ended = time.Now()
}

// wait reports whether the time has passed before ctx was done.
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
