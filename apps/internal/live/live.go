// Package live reports to a replica whether its colour is live. Only the live colour does background work,
// and a colour that is no longer live closes the connections of its clients.
//
// The selector of the live Service is the only source of truth. Each replica requests GET /health of the live
// Service on a new connection, and compares the colour in the response with its own. Every replica detects a
// switch within about interval, or within about busy while it serves clients.
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

// Header has the value Lost in every response of a colour that is no longer live. The client then uses an old connection,
// and its other connections may be old, too.
const (
	Header = "X-Colour-Live"
	Lost   = "false"
)

const (
	// busy is the time between two checks while clients are served. It is short so that traffic follows a
	// rollback within half a second. Checking that often without clients, in two colours, would cost a small
	// cluster more than its users do.
	busy             = 150 * time.Millisecond
	interval         = 500 * time.Millisecond
	responseTimeout  = time.Second
	maxResponseBytes = 4 << 10
)

// Switch is on while the colour of this process is live.
type Switch struct {
	url    *url.URL
	colour string
	log    *slog.Logger
	client *http.Client
	lost   atomic.Bool   // not guarded by mu: every request reads it
	served chan struct{} // holds a value if a client was served since the last check

	mu      sync.Mutex
	on      bool
	changed context.Context // done at the next change
	change  context.CancelFunc
}

// NewSwitch returns the switch of self. at is the URL of the live Service. If it is nil, there is only one
// colour, and the switch is always on. Otherwise the switch is off until Watch finds that the colour is live.
func NewSwitch(at *url.URL, self config.Service, log *slog.Logger, registry prometheus.Registerer) *Switch {
	s := &Switch{
		url: at, colour: self.Colour, log: log, on: at == nil,
		served: make(chan struct{}, 1),
		client: &http.Client{
			Timeout: responseTimeout,
			// A kept connection would still go to the previous colour after a switch.
			Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&dial.Dialer{}).DialContext},
		},
	}
	s.changed, s.change = context.WithCancel(context.Background())
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

// Lost reports whether another colour is known to be live. It is false while the live colour is unknown, so
// that clients aren't disconnected by mistake.
func (s *Switch) Lost() bool { return s.lost.Load() }

// Served reports that a client was served, so that Watch checks again soon.
func (s *Switch) Served() {
	select {
	case s.served <- struct{}{}:
	default:
	}
}

func (s *Switch) state() (on bool, changed context.Context) {
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
	s.change()
	s.changed, s.change = context.WithCancel(context.Background())
	s.log.Info("the live colour has changed", "live", on)
}

// Watch updates the switch until ctx is done. Without a response the switch keeps its state: two active
// colours are harmless for a moment, but without one no background work runs.
func (s *Switch) Watch(ctx context.Context) {
	if s.url == nil {
		return
	}
	available := true
	for ctx.Err() == nil {
		colour, err := s.liveColour(ctx)
		if err == nil {
			s.set(colour == s.colour)
		} else if available && ctx.Err() == nil {
			s.log.Warn("the live colour is unknown right now", "cause", err)
		}
		available = err == nil
		s.pause(ctx)
	}
}

// pause waits until the next check is due.
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

func (s *Switch) liveColour(ctx context.Context) (colour string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.JoinPath("health").String(), nil)
	if err != nil {
		return "", err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	// The status doesn't matter: an unhealthy live colour is live.
	var body struct{ Colour string }
	if err := json.NewDecoder(io.LimitReader(response.Body, maxResponseBytes)).Decode(&body); err != nil || body.Colour == "" {
		return "", fmt.Errorf("%s responds with %s and no colour: %w", s.url.Host, response.Status, err)
	}
	return body.Colour, nil
}

// While runs work whenever the switch is on, until ctx is done. The context of work is cancelled when the
// switch goes off; work must then return soon. If work returns by itself, it starts again after pause.
func (s *Switch) While(ctx context.Context, pause time.Duration, work func(context.Context)) {
	for ctx.Err() == nil {
		on, changed := s.state()
		var again <-chan time.Time // never, while the switch is off
		if on {
			until, cancel := context.WithCancel(ctx)
			stop := context.AfterFunc(changed, cancel)
			work(until)
			stop()
			cancel()
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-changed.Done():
		case <-again:
		}
	}
}
