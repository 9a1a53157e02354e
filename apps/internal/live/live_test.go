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

// liveName answers as the live Service does: with the colour that it selects.
type liveName struct {
	colour atomic.Value
	*httptest.Server
}

func newLiveName(t *testing.T, colour string) *liveName {
	t.Helper()
	n := &liveName{}
	n.colour.Store(colour)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" || !r.Close {
			t.Errorf("asked for %s, close %t: want /health on a connection of its own", r.URL.Path, r.Close)
		}
		w.WriteHeader(http.StatusServiceUnavailable) // unwell, and live all the same
		_, _ = fmt.Fprintf(w, `{"colour":%q}`, n.colour.Load())
	}))
	t.Cleanup(n.Close)
	return n
}

func watched(t *testing.T, at string) *Switch {
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

func TestWorkIsDoneWhileTheColourIsLive(t *testing.T) {
	name := newLiveName(t, "blue")
	s := watched(t, name.URL)
	var working atomic.Bool
	var begun atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.While(ctx, time.Hour, func(ctx context.Context) {
			begun.Add(1)
			working.Store(true)
			<-ctx.Done()
			working.Store(false)
		})
	}()
	for range 2 {
		name.colour.Store("green")
		wait(t, "the live colour doesn't work", working.Load)
		name.colour.Store("blue")
		wait(t, "the other colour works on", func() bool { return !working.Load() })
	}
	cancel()
	<-ended
	if n := begun.Load(); n != 2 {
		t.Errorf("work was begun %d times, want 2", n)
	}
}

func TestWithoutAnAnswerTheSwitchStaysAsItWas(t *testing.T) {
	name := newLiveName(t, "green")
	s := watched(t, name.URL)
	wait(t, "the switch isn't on", s.On)
	name.Close()
	if _, err := s.ask(t.Context()); err == nil {
		t.Fatal("there is an answer")
	}
	if !s.On() {
		t.Error("the switch went off")
	}
}

func TestWithoutALiveNameTheSwitchIsOn(t *testing.T) {
	s := NewSwitch(nil, config.Service{Colour: "none"}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	s.Watch(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	if s.Lost() {
		t.Error("it is lost, and there is no other colour")
	}
	rounds := 0
	s.While(ctx, 0, func(context.Context) {
		if rounds++; rounds == 3 {
			cancel()
		}
	})
	if rounds != 3 {
		t.Errorf("%d rounds of work, want 3: what returns is begun anew", rounds)
	}
}

// To serve makes a look due at once, and no more than one in a while however
// much is served.
func TestWhileClientsAreServedTheSwitchIsLookedAtMoreOften(t *testing.T) {
	looks := func(serve bool) int64 {
		var asked atomic.Int64
		name := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			_, _ = fmt.Fprint(w, `{"colour":"green"}`)
		}))
		defer name.Close()
		s := watched(t, name.URL)
		for until := time.Now().Add(4 * interval); time.Now().Before(until); time.Sleep(time.Millisecond) {
			if serve {
				s.Served()
			}
		}
		return asked.Load()
	}
	idle, serving := looks(false), looks(true)
	if most := int64(4*interval/busy) + 1; idle == 0 || serving < 2*idle || serving > most {
		t.Errorf("%d looks without clients, %d with many, want at least twice as many and at most %d", idle, serving, most)
	}
}

// Clients are sent away once another colour was heard to be live, and not for
// want of an answer.
func TestTheSwitchIsLostToAnotherColourOnly(t *testing.T) {
	name := newLiveName(t, "green")
	unheard := watched(t, "http://127.0.0.1:1")
	s := watched(t, name.URL)
	wait(t, "the switch isn't on", s.On)
	if s.Lost() || unheard.Lost() || unheard.On() {
		t.Errorf("lost: %t while live, %t while nothing was heard", s.Lost(), unheard.Lost())
	}
	name.colour.Store("blue")
	wait(t, "another colour is live and the switch isn't lost", s.Lost)
	name.colour.Store("green")
	wait(t, "the switch is back and still lost", func() bool { return !s.Lost() })

	name.colour.Store("blue")
	wait(t, "one that starts as the other colour isn't lost", watched(t, name.URL).Lost)
}
