package load

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHealthyPlatformLosesNothing(t *testing.T) {
	f := newFake(t)
	r := f.start(t, nil)
	result := whole(r)
	if err := result.Err(); err != nil {
		t.Error(err)
	}
	if n := len(result.Samples); n != 100 {
		t.Errorf("%d requests, want 250 per second for 0.4 s", n)
	}
	kinds, reused, fresh := map[Kind]int{}, 0, 0
	for _, s := range result.Samples {
		kinds[s.Kind]++
		if s.Reused {
			reused++
		} else {
			fresh++
		}
		if s.Latency <= 0 || s.Replayed {
			t.Errorf("a sample is %+v", s)
		}
	}
	if len(kinds) != len(mix) {
		t.Errorf("kinds: %v, want all of them", kinds)
	}
	if reused == 0 || fresh == 0 {
		t.Errorf("%d over kept connections, %d over new ones: want some of both", reused, fresh)
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	if f.users != 2 || f.removed != 2 {
		t.Errorf("%d users signed up and %d were removed, want 2", f.users, f.removed)
	}
}

func TestErrorsAndClosedConnectionsAreLost(t *testing.T) {
	f := newFake(t)
	f.before = func(n int, w http.ResponseWriter, _ *http.Request) bool {
		switch n {
		case 20:
			reply(w, http.StatusServiceUnavailable, map[string]string{"detail": "The service is not available right now."})
		case 40: // in the middle of a response, which isn't retried
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 60:
			w.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	}
	result := whole(f.start(t, nil))
	if lost := result.Lost(); len(lost) != 3 || len(result.Refused()) != 0 {
		t.Errorf("lost: %+v, want 3", lost)
	}
	err := result.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"3 of 100 requests are lost", "503: The service is not available right now.", "unexpected EOF", "404"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoesn't contain %s", err, want)
		}
	}
}

// net/http retries a request whose kept connection is closed before a byte of the response, and the load counts it separately.
func TestRetriedRequestIsReplayed(t *testing.T) {
	f := newFake(t)
	var cut atomic.Bool
	f.before = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !usedBefore(r) || !cut.CompareAndSwap(false, true) {
			return false
		}
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = connection.Close()
		}
		return true
	}
	r := f.start(t, func(o *Options) { o.NewConnections = -1 })
	result := whole(r)
	if replayed := result.Replayed(); len(replayed) != 1 || len(result.Lost()) != 0 {
		t.Errorf("replayed: %+v, lost: %+v, want one replayed and none lost", replayed, result.Lost())
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRateLimitedRequestsAreRefusedNotLost(t *testing.T) {
	f := newFake(t)
	f.timing = []string{`api-gateway;desc="blue 0123456789ab"`}
	f.before = func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n%2 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return n%2 == 0
	}
	r := f.start(t, nil)
	result := whole(r)
	if lost, refused := len(result.Lost()), len(result.Refused()); lost != 0 || refused != 50 {
		t.Errorf("%d lost and %d refused, want 0 and 50", lost, refused)
	}
	err := result.Err()
	for _, want := range []string{"50 of them by the gateway", "7500 a minute", "services.api-gateway.requestsPerMinute", "edge.requestsPerSecond"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoesn't contain %s", err, want)
		}
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Error(err)
	}
}

// Each request is sent at its time although none gets a response, and its latency counts from that time.
func TestRateIsKeptWhileTheServerStalls(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	const stall = 300 * time.Millisecond
	f.before = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			time.AfterFunc(stall, func() { close(release) })
		}
		<-release
		return false
	}
	result := whole(f.start(t, func(o *Options) { o.Rate, o.NewConnections = 200, -1 }))
	if err := result.Err(); err != nil {
		t.Error(err)
	}
	if rate := result.Rate(); rate < 199 || rate > 201 || len(result.Samples) != 80 {
		t.Errorf("%d requests, %.1f per second, want 80 and 200", len(result.Samples), rate)
	}
	// The first requests were due at once and waited all the time; the last ones hardly waited.
	if slow, fast := result.Percentile(1), result.Percentile(.02); slow < stall*9/10 || slow-fast < stall/2 {
		t.Errorf("latencies from %s to %s", fast, slow)
	}
}

func TestRequestsAboveTheInFlightLimitAreLost(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	f.before = func(int, http.ResponseWriter, *http.Request) bool { <-release; return false }
	r := f.start(t, func(o *Options) { o.InFlight = 10 })
	time.AfterFunc(500*time.Millisecond, func() { close(release) })
	result := whole(r)
	if lost := result.Lost(); len(lost) != 90 || !strings.Contains(lost[0].Err, "not sent: 10 requests were in flight") {
		t.Errorf("%d are lost, want 90", len(lost))
	}
}

func TestStopLosesNothing(t *testing.T) {
	for name, stop := range map[string]func(*Run, context.CancelFunc){
		"by Stop":        func(r *Run, _ context.CancelFunc) { r.Stop() },
		"by the context": func(_ *Run, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reached := make(chan struct{})
			f.before = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 10 {
					close(reached)
				}
				return false
			}
			r, err := Start(ctx, Options{BaseURL: f.server.URL, RootCAs: f.trusted(), Rate: 200, Duration: time.Minute, Users: 1})
			if err != nil {
				t.Fatal(err)
			}
			<-reached
			stop(r, cancel)
			result := whole(r)
			if n := len(result.Samples); n < 10 || n > 5000 || result.Err() != nil {
				t.Errorf("%d requests, %v", n, result.Err())
			}
			if err := r.Settle(t.Context()); err != nil || f.removed != 1 {
				t.Errorf("%d users were removed (%v)", f.removed, err)
			}
		})
	}
}

func TestOnlyLocalAddressesAreAccepted(t *testing.T) {
	for address, allowed := range map[string]bool{
		"https://localhost:30443": true, "https://127.0.0.1:30443": true, "https://[::1]:30443": true, "http://127.8.0.1": true,
		"https://example.com": false, "https://10.0.0.1": false, "https://localhost.example.com": false, "https://0.0.0.0:1": false,
		"https://user@localhost": false, "ftp://localhost": false, "localhost:30443": false, "": false,
	} {
		if _, err := local(address); (err == nil) != allowed {
			t.Errorf("%q: %v", address, err)
		}
	}
	if err := onlyLocal("tcp", "192.0.2.1:443", nil); err == nil {
		t.Error("a name of another machine was connected to")
	}
}

func TestOptionsOutOfBoundsAreRefused(t *testing.T) {
	const here = "https://localhost:1"
	for name, o := range map[string]Options{
		"rate": {BaseURL: here, Rate: 5001}, "negative rate": {BaseURL: here, Rate: -1},
		"duration": {BaseURL: here, Duration: time.Hour}, "users": {BaseURL: here, Users: 1000},
		"in flight": {BaseURL: here, InFlight: 1 << 20}, "share": {BaseURL: here, NewConnections: 2},
		"requests": {BaseURL: here, Rate: 5000, Duration: 10 * time.Minute},
	} {
		if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultUsersFitTheGatewaysLimit(t *testing.T) {
	for rate, want := range map[float64]int{10: 8, 300: 20, 5000: 200} {
		o, _, err := Options{BaseURL: "https://localhost", Rate: rate}.checked()
		if err != nil || o.Users != want {
			t.Errorf("%g requests/s: %d users (%v), want %d", rate, o.Users, err, want)
		}
	}
}
