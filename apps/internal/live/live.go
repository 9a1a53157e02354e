// Package live tells a replica whether its colour is the live one, so that only
// that colour does background work, and one that is no longer live sends its
// clients away.
//
// The switch is the selector of the live Service and nothing beside it: each
// replica asks its own service by the live name, on a new connection each time,
// and compares the colour that answers with its own. What is flipped, by
// whomever, is therefore noticed everywhere within about interval, and where
// clients are served within about busy.
package live

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/dial"
)

// Header, with the value Lost, is on every answer of a colour that is no longer
// live: who gets it is on an old connection, and so may its other connections be.
const (
	Header = "X-Colour-Live"
	Lost   = "false"
)

const (
	// busy is the time between two looks while clients are served: short, because
	// who is on call and takes a release back is to see traffic follow within
	// half a second. To look that often without clients, in two colours, would
	// cost a small cluster more than its users do.
	busy           = 150 * time.Millisecond
	interval       = 500 * time.Millisecond
	answerTimeout  = time.Second
	maxAnswerBytes = 4 << 10
)

// Switch is on while the colour of this process is live.
type Switch struct {
	at     *url.URL
	colour string
	log    *slog.Logger
	client *http.Client
	lost   atomic.Bool   // apart from mu: every request asks
	served chan struct{} // holds one once a client was served since the last look

	mu      sync.Mutex
	on      bool
	changed chan struct{} // closed at the next change
}

// ReadURL reads where the live colour of this service answers. Unset means that
// there is but one: the switch is always on.
func ReadURL(e *config.Env) *url.URL {
	return config.ParsedOr(e, "LIVE_URL", nil, config.HTTPURL)
}

// NewSwitch returns the switch of self. Without a URL it is on for good; else
// it is off until Watch has heard that it is on.
func NewSwitch(at *url.URL, self config.Service, log *slog.Logger, registry prometheus.Registerer) *Switch {
	s := &Switch{
		at: at, colour: self.Colour, log: log, on: at == nil,
		served: make(chan struct{}, 1), changed: make(chan struct{}),
		client: &http.Client{
			Timeout: answerTimeout,
			// A kept connection would stay with the colour that it was opened to.
			Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&dial.Dialer{}).DialContext},
		},
	}
	promauto.With(registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "service_live", Help: "1 while the colour of this replica is live, else 0.",
	}, func() float64 {
		if s.On() {
			return 1
		}
		return 0
	})
	return s
}

// On reports whether the colour of this process is live.
func (s *Switch) On() bool {
	on, _ := s.state()
	return on
}

// Lost reports whether another colour is known to be live. Unlike the opposite
// of On it is false until that was heard: clients are not sent away on a guess.
func (s *Switch) Lost() bool { return s.lost.Load() }

// Served has the switch looked at soon: there are clients who would have to move.
func (s *Switch) Served() {
	select {
	case s.served <- struct{}{}:
	default:
	}
}

func (s *Switch) state() (on bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on, s.changed
}

func (s *Switch) set(on bool) {
	s.lost.Store(!on)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on == on {
		return
	}
	s.on = on
	close(s.changed)
	s.changed = make(chan struct{})
	s.log.Info("the live colour has changed", "live", on)
}

// Watch keeps the switch right until ctx is done. Without an answer it stays as
// it was: two colours at work for a moment do no harm, none at work would.
func (s *Switch) Watch(ctx context.Context) {
	if s.at == nil {
		return
	}
	answered := true
	for ctx.Err() == nil {
		colour, err := s.ask(ctx)
		if err == nil {
			s.set(colour == s.colour)
		} else if answered && ctx.Err() == nil {
			s.log.Warn("which colour is live is not known right now", "cause", err)
		}
		answered = err == nil
		s.pause(ctx)
	}
}

// pause waits until the next look is due.
func (s *Switch) pause(ctx context.Context) {
	spread := func(d time.Duration) <-chan time.Time { return time.After(d + rand.N(d/5)) }
	select {
	case <-ctx.Done():
	case <-spread(busy):
	}
	select {
	case <-ctx.Done():
	case <-s.served:
	case <-spread(interval - busy):
	}
}

func (s *Switch) ask(ctx context.Context) (colour string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at.JoinPath("health").String(), nil)
	if err != nil {
		return "", err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	// The status doesn't matter: a live colour that is unwell is live.
	var answer struct{ Colour string }
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(&answer); err != nil || answer.Colour == "" {
		return "", fmt.Errorf("%s answers %s and no colour: %w", s.at.Host, response.Status, err)
	}
	return answer.Colour, nil
}

// While runs work as long as the switch is on, again each time that it comes
// on, until ctx is done. The context that work gets ends when the switch goes
// off; work must then return soon. Work that returns by itself is begun anew
// after pause.
func (s *Switch) While(ctx context.Context, pause time.Duration, work func(context.Context)) {
	for ctx.Err() == nil {
		on, changed := s.state()
		if on {
			s.until(ctx, changed, work)
		}
		wait := time.NewTimer(pause)
		if !on {
			wait.Stop() // only a change can make a difference
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-wait.C:
		}
		wait.Stop()
	}
}

func (s *Switch) until(ctx context.Context, changed <-chan struct{}, work func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	work(ctx)
}
