package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
)

const deadline = 10 * time.Second

// liveService responds like the live Service: with the colour that it selects.
type liveService struct {
	colour atomic.Value
	*httptest.Server
}

func newLiveService(t *testing.T, colour string) *liveService {
	t.Helper()
	n := &liveService{}
	n.colour.Store(colour)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" || !r.Close {
			t.Errorf("got a request for %s, close %t: want /health on a new connection", r.URL.Path, r.Close)
		}
		w.WriteHeader(http.StatusServiceUnavailable) // unhealthy, but live
		_, _ = fmt.Fprintf(w, `{"colour":%q}`, n.colour.Load())
	}))
	t.Cleanup(n.Close)
	return n
}

func startWatch(t *testing.T, at string) *Switch {
	t.Helper()
	base, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSwitch(base, config.Service{Colour: "green"}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Watch(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		if !condition() {
			return errors.New(what)
		}
		return nil
	})
}

func TestWorkRunsWhileColourIsLive(t *testing.T) {
	name := newLiveService(t, "blue")
	s := startWatch(t, name.URL)
	var working atomic.Bool
	var starts atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.While(ctx, time.Hour, func(ctx context.Context) {
			starts.Add(1)
			working.Store(true)
			<-ctx.Done()
			working.Store(false)
		})
	}()
	for range 2 {
		name.colour.Store("green")
		wait(t, "the live colour does no work", working.Load)
		name.colour.Store("blue")
		wait(t, "the other colour still works", func() bool { return !working.Load() })
	}
	cancel()
	<-ended
	if n := starts.Load(); n != 2 {
		t.Errorf("work was started %d times, want 2", n)
	}
}

func TestSwitchKeepsStateWithoutResponse(t *testing.T) {
	name := newLiveService(t, "green")
	s := startWatch(t, name.URL)
	wait(t, "the switch isn't on", s.On)
	name.Close()
	if _, err := s.liveColour(t.Context()); err == nil {
		t.Fatal("there is a response")
	}
	if !s.On() {
		t.Error("the switch went off")
	}
}

func TestSwitchIsOnWithoutURL(t *testing.T) {
	s := NewSwitch(nil, config.Service{Colour: "none"}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	s.Watch(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	if s.Lost() {
		t.Error("it is lost without another colour")
	}
	rounds := 0
	s.While(ctx, 0, func(context.Context) {
		if rounds++; rounds == 3 {
			cancel()
		}
	})
	if rounds != 3 {
		t.Errorf("%d rounds of work, want 3: work that returns starts again", rounds)
	}
}

// Serving triggers a check at once, but checks stay rare however many requests are served.
func TestSwitchIsCheckedMoreOftenWhileServing(t *testing.T) {
	countChecks := func(serve bool) int64 {
		var checks atomic.Int64
		name := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			checks.Add(1)
			_, _ = fmt.Fprint(w, `{"colour":"green"}`)
		}))
		defer name.Close()
		s := startWatch(t, name.URL)
		for until := time.Now().Add(4 * interval); time.Now().Before(until); time.Sleep(time.Millisecond) {
			if serve {
				s.Served()
			}
		}
		return checks.Load()
	}
	idle, serving := countChecks(false), countChecks(true)
	if most := int64(4*interval/busy) + 1; idle == 0 || serving < 2*idle || serving > most {
		t.Errorf("%d checks without clients, %d with many, want at least twice as many and at most %d", idle, serving, most)
	}
}

// Connections are closed once another colour is known to be live, but not because a response is missing.
func TestLostOnlyIfAnotherColourIsLive(t *testing.T) {
	name := newLiveService(t, "green")
	unknown := startWatch(t, "http://127.0.0.1:1")
	s := startWatch(t, name.URL)
	wait(t, "the switch isn't on", s.On)
	if s.Lost() || unknown.Lost() || unknown.On() {
		t.Errorf("lost: %t while live, %t while the live colour is unknown", s.Lost(), unknown.Lost())
	}
	name.colour.Store("blue")
	wait(t, "another colour is live, but the switch isn't lost", s.Lost)
	name.colour.Store("green")
	wait(t, "the colour is live again, but the switch is still lost", func() bool { return !s.Lost() })

	name.colour.Store("blue")
	wait(t, "a replica that starts while another colour is live isn't lost", startWatch(t, name.URL).Lost)
}
