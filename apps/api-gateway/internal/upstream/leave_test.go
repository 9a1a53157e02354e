package upstream

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
)

// colour is a service that reports, while lost is true, that it is no
// longer live.
type colour struct {
	lost    atomic.Bool
	opened  atomic.Int64 // connections
	arrived sync.WaitGroup
	gate    chan struct{} // closed: requests get a response
}

func newSigner(t *testing.T) *identity.Signer {
	t.Helper()
	signer, err := identity.ParseSigner("test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// newColour returns a service whose connections go to c.
func newColour(t *testing.T, c *colour) *Service {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			c.arrived.Done()
			<-c.gate
		}
		if c.lost.Load() { // without Connection: close, so that all is the client's doing
			w.Header().Set(live.Header, live.Lost)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := New("user-service", base, newSigner(t), prometheus.NewRegistry())
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func ask(t *testing.T, s *Service, path string) http.Header {
	t.Helper()
	response := httptest.NewRecorder()
	if err := s.Forward(response, httptest.NewRequest(http.MethodGet, "/api"+path, nil), Destination{Path: path}); err != nil {
		t.Error(err)
	}
	return response.Header()
}

// sendConcurrently sends count requests, each on its own connection.
func sendConcurrently(t *testing.T, c *colour, s *Service, count int) {
	t.Helper()
	c.gate = make(chan struct{})
	c.arrived.Add(count)
	var asking sync.WaitGroup
	for range count {
		asking.Go(func() { ask(t, s, "/wait") })
	}
	c.arrived.Wait()
	close(c.gate)
	asking.Wait()
}

// One such response, to a client or to the gateway itself, drops all idle connections. Clients don't see the header.
func TestIdleConnectionsToColourThatIsNotLiveAreDropped(t *testing.T) {
	for name, hear := range map[string]func(*testing.T, *Service){
		"by a response to a client": func(t *testing.T, s *Service) {
			if h := ask(t, s, "/users"); h.Get(live.Header) != "" {
				t.Errorf("the client gets %v", h)
			}
		},
		"by a response to a poll": func(t *testing.T, s *Service) {
			if err := s.Poll(t.Context(), "/sessions/revoked", nil); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &colour{}
			s := newColour(t, c)
			sendConcurrently(t, c, s, 16)
			if n := s.client.ConnsCount(); n != 16 {
				t.Fatalf("%d connections, want 16", n)
			}
			c.lost.Store(true)
			hear(t, s)
			backingtest.Eventually(t, 10*time.Second, func() error {
				if n := s.client.ConnsCount(); n > 1 { // that of the response itself ends by the service
					return fmt.Errorf("%d connections are left", n)
				}
				return nil
			})
		})
	}
}

// All requests in flight to a colour report that it is no longer live, and so do later ones. They mustn't drop the
// connections that are opened meanwhile.
func TestBurstOfLostResponsesDropsConnectionsOnce(t *testing.T) {
	c := &colour{}
	s := newColour(t, c)
	c.lost.Store(true)
	begin := time.Now()
	for range 2000 {
		ask(t, s, "/users")
	}
	if opened, most := c.opened.Load(), int64(time.Since(begin)/dropInterval)+2; opened > most {
		t.Errorf("%d connections were opened, want at most %d", opened, most)
	}
	sendConcurrently(t, c, s, 64)
}
