package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"platform.example/apps/internal/backingtest"
)

// clock is a clock that the test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newBreaker(now func() time.Time) *Breaker {
	return &Breaker{service: "s", now: now}
}

func newClock() *clock { return &clock{t: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func allowed(b *Breaker) bool {
	ok, _ := b.Allow()
	return ok
}

func fail(b *Breaker, times int) {
	for range times {
		if allowed(b) {
			b.Failed()
		}
	}
}

func TestFiveConsecutiveFailuresOpenTheBreaker(t *testing.T) {
	c := newClock()
	b := newBreaker(c.now)
	fail(b, 4)
	b.Succeeded()
	fail(b, 4)
	if b.State() != Closed {
		t.Fatal("opened although a success stood between the failures")
	}
	fail(b, 1)
	if ok, after := b.Allow(); ok || after != 60*time.Second || b.State() != Open {
		t.Errorf("allowed %t, come again after %s, state %d", ok, after, b.State())
	}
}

func TestOldFailuresAreNotConsecutive(t *testing.T) {
	c := newClock()
	b := newBreaker(c.now)
	for range 20 {
		fail(b, 1)
		c.forward(61 * time.Second)
	}
	if b.State() != Closed {
		t.Error("opened")
	}
}

func TestOneRequestMayTryAfterAMinute(t *testing.T) {
	c := newClock()
	b := newBreaker(c.now)
	fail(b, 5)
	c.forward(59 * time.Second)
	if allowed(b) {
		t.Fatal("tried too early")
	}
	c.forward(time.Second)
	if b.State() != HalfOpen || !allowed(b) {
		t.Fatal("no request may try")
	}
	if ok, after := b.Allow(); ok || after != time.Second {
		t.Fatalf("a second request may try at the same time (%t, %s)", ok, after)
	}
	b.Failed()
	if b.State() != Open {
		t.Fatal("the try failed, and it isn't open again")
	}
	c.forward(60 * time.Second)
	if !allowed(b) {
		t.Fatal("no request may try again")
	}
	b.Succeeded()
	if b.State() != Closed || !allowed(b) || !allowed(b) {
		t.Error("the try succeeded, and it isn't closed")
	}
}

func TestUnfinishedTryIsFollowedByAnother(t *testing.T) {
	c := newClock()
	b := newBreaker(c.now)
	fail(b, 5)
	c.forward(60 * time.Second)
	if !allowed(b) {
		t.Fatal("no request may try")
	}
	c.forward(probeTime)
	if !allowed(b) {
		t.Error("it is stuck")
	}
}

func TestHealthCheckLetsOneRequestTry(t *testing.T) {
	c := newClock()
	b := newBreaker(c.now)
	b.Ready()
	if b.State() != Closed {
		t.Fatal("a health check opens it")
	}
	fail(b, 5)
	c.forward(time.Second)
	b.Ready()
	b.take()
	b.apply(5, c.now().Add(-time.Second)) // what the other replicas saw before
	if b.State() != HalfOpen || !allowed(b) || allowed(b) {
		t.Fatal("not exactly one request may try")
	}
	b.Failed()
	if b.State() != Open || allowed(b) {
		t.Fatal("the try failed, and it isn't open again")
	}
	b.Ready()
	b.take()
	b.apply(9, c.now().Add(2*time.Second)) // they have tried since
	if b.State() != Open {
		t.Fatal("the failures that other replicas see later don't count")
	}
	b.Ready()
	if !allowed(b) {
		t.Fatal("no request may try")
	}
	b.Succeeded()
	if b.State() != Closed {
		t.Error("the try succeeded, and it isn't closed")
	}
}

func TestLateSuccessDoesNotCloseTheBreaker(t *testing.T) {
	c := newClock()
	b := newBreaker(c.now)
	if !allowed(b) { // sent before the breaker opens, with a response after it
		t.Fatal("not allowed")
	}
	fail(b, 5)
	b.Succeeded()
	if b.State() != Open {
		t.Error("closed by a response to an older request")
	}
}

// For any sequence: a breaker never refuses without five failures within openFor, and lets only one request try.
func TestProperties(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := newClock()
			b := newBreaker(c.now)
			inRow, opened, trying := 0, time.Time{}, time.Time{}
			for range 500 {
				c.forward(time.Duration(random.IntN(4000)) * time.Millisecond)
				open := inRow >= threshold
				ok, after := b.Allow()
				switch {
				case !open && !ok:
					t.Fatalf("refused after %d failures", inRow)
				case open && ok && c.now().Before(opened.Add(openFor)):
					t.Fatal("allowed while open")
				case open && ok && c.now().Before(trying):
					t.Fatal("two requests try at the same time")
				case !ok && (after <= 0 || after > openFor):
					t.Fatalf("retry after %s", after)
				case !ok:
					continue
				}
				if open {
					trying = c.now().Add(probeTime)
				}
				switch random.IntN(6) {
				case 0: // never finished
				case 1, 2:
					b.Succeeded()
					inRow, trying = 0, time.Time{}
				default:
					b.Failed()
					inRow++
					opened, trying = c.now(), time.Time{}
				}
			}
		})
	}
}

func TestReplicasShareFailures(t *testing.T) {
	redis := backingtest.StartRedis(t)
	client := redis.ClientOf("api-gateway")
	t.Cleanup(func() { _ = client.Close() })
	replica := func() *Breaker {
		b := New("user-service")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { Share(ctx, client, slog.New(slog.DiscardHandler), b); close(ended) }()
		t.Cleanup(func() { cancel(); <-ended })
		return b
	}
	one, other := replica(), replica()
	both := func(want State) {
		t.Helper()
		backingtest.Eventually(t, 20*time.Second, func() error {
			if one.State() != want || other.State() != want {
				return fmt.Errorf("states %d and %d, want %d", one.State(), other.State(), want)
			}
			return nil
		})
	}

	fail(one, 3)
	backingtest.Eventually(t, 20*time.Second, func() error {
		if n := other.failures.Load(); n != 3 {
			return fmt.Errorf("the other replica knows of %d failures, want 3", n)
		}
		return nil
	})
	fail(other, 2)
	both(Open)
	if n, err := client.Get(t.Context(), "circuit_breaker:user-service:failures").Int(); err != nil || n != 5 {
		t.Errorf("Redis has %d failures, %v", n, err)
	}
	if at, err := client.Get(t.Context(), "circuit_breaker:user-service:last_failure").Int64(); err != nil || time.Since(time.Unix(at, 0)) > time.Minute {
		t.Errorf("Redis has the last failure at %d, %v", at, err)
	}

	// One replica's try succeeds.
	one.mu.Lock()
	one.openTil.Store(time.Now().UnixNano())
	one.mu.Unlock()
	backingtest.Eventually(t, 20*time.Second, func() error {
		if !allowed(one) {
			return errors.New("it may not try")
		}
		return nil
	})
	one.Succeeded()
	both(Closed)
}

func TestApply(t *testing.T) {
	start := newClock().now()
	ago := func(d time.Duration) time.Time { return start.Add(-d) }
	opened := func(til time.Duration) func(*Breaker) {
		return func(b *Breaker) { b.failures.Store(threshold); b.open(start.Add(til)) }
	}
	for _, c := range []struct {
		name     string
		prepare  func(*Breaker)
		failures int64
		last     time.Time
		state    State
		count    int64 // failures in a row afterwards
		til      time.Duration
	}{
		{"no failures", func(b *Breaker) { b.failures.Store(3) }, 0, time.Unix(0, 0), Closed, 0, 0},
		{"failures below the threshold", func(*Breaker) {}, threshold - 1, start, Closed, threshold - 1, 0},
		{"failures at the threshold", func(*Breaker) {}, threshold, ago(time.Second), Open, threshold, openFor - time.Second},
		{"failures at the threshold, as long ago as it stays open", func(*Breaker) {}, threshold, ago(openFor), Closed, threshold, 0},
		{"failures before the service was ready again", func(b *Breaker) { b.ready = start }, threshold, ago(time.Second), Closed, threshold, 0},
		{"failures at the moment at which the service was ready", func(b *Breaker) { b.ready = start }, threshold, start, Closed, threshold, 0},
		{"a failure of another replica that reports own ones", func(b *Breaker) { b.pending = 1 }, threshold, start, Closed, 0, 0},
		{"failures, and an own success", func(b *Breaker) { b.recovered = true }, threshold, start, Closed, 0, 0},
		{"a success, while open", opened(time.Second), 0, time.Unix(0, 0), Closed, 0, 0},
		{"no failures, once its time is over", opened(0), 0, time.Unix(0, 0), HalfOpen, threshold, 0},
		{"the failures that it knows, in whole seconds", opened(openFor - time.Second), threshold, ago(2 * time.Second), Open, threshold, openFor - time.Second},
		{"exactly a second later", opened(openFor - 2*time.Second), threshold, ago(time.Second), Open, threshold, openFor - 2*time.Second},
		{"later failures", opened(openFor - 3*time.Second), threshold + 2, ago(time.Second), Open, threshold + 2, openFor - time.Second},
		{"few failures, while open", opened(time.Second), 1, start, Open, threshold, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBreaker(newClock().now)
			c.prepare(b)
			b.apply(c.failures, c.last)
			if b.State() != c.state || b.failures.Load() != c.count {
				t.Errorf("state %d with %d failures, want %d with %d", b.State(), b.failures.Load(), c.state, c.count)
			}
			if til := time.Unix(0, b.openTil.Load()); c.state == Open && til.Sub(start) != c.til {
				t.Errorf("it is open for %s, want %s", til.Sub(start), c.til)
			}
		})
	}
}

func TestRequeue(t *testing.T) {
	for _, c := range []struct {
		name       string
		since, was changes // since: after the attempt to report was
		want       changes
	}{
		{"failures", changes{}, changes{pending: 2}, changes{pending: 2}},
		{"failures, and more since", changes{pending: 1}, changes{pending: 2}, changes{pending: 3}},
		{"failures, and a success since", changes{recovered: true}, changes{pending: 2}, changes{recovered: true}},
		{"a success", changes{}, changes{recovered: true}, changes{recovered: true}},
		{"a success, and a failure since", changes{pending: 1}, changes{recovered: true}, changes{pending: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBreaker(newClock().now)
			b.pending, b.recovered = c.since.pending, c.since.recovered
			b.requeue(c.was)
			if got := b.take(); got.pending != c.want.pending || got.recovered != c.want.recovered {
				t.Errorf("it reports %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestReplicasDecideAloneWithoutRedis(t *testing.T) {
	redis := backingtest.StartRedis(t)
	client := redis.ClientOf("api-gateway")
	t.Cleanup(func() { _ = client.Close() })
	b := New("user-service")
	fail(b, 4)
	redis.Stop()
	if err := b.exchange(t.Context(), client); err == nil {
		t.Fatal("Redis responds")
	}
	fail(b, 1)
	if b.State() != Open {
		t.Fatal("it isn't open")
	}
	redis.Start()
	backingtest.Eventually(t, 20*time.Second, func() error { return b.exchange(t.Context(), client) })
	if n, _ := client.Get(t.Context(), b.failuresKey()).Int(); n != 5 {
		t.Errorf("Redis has %d failures, want 5: unreported failures are reported later", n)
	}
	if b.State() != Open {
		t.Error("it isn't open any more")
	}
}

func BenchmarkAllowed(b *testing.B) {
	breaker := New("s")
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := breaker.Allow(); ok {
			breaker.Succeeded()
		}
	}
}
