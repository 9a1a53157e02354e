package session

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/identity"
)

// users lists revoked sessions in pages, like user-service.
type users struct {
	revoked []ended // in the order of their end
	page    int
	fails   bool // from the second page on
}

func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	after := r.URL.Query().Get("after")
	if u.fails && after != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	listed := []ended{}
	for _, one := range u.revoked {
		if one.At.After(since) || one.At.Equal(since) && one.SessionID > after {
			listed = append(listed, one)
		}
	}
	n := min(u.page, len(listed))
	_ = json.NewEncoder(w).Encode(map[string]any{"revoked": listed[:n], "more": n < len(listed)})
}

func sessions(t *testing.T, u *users) *Sessions {
	t.Helper()
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := identity.ParseSigner("test:" + strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	return New(upstream.New("user-service", at, signer, registry), slog.New(slog.DiscardHandler), registry)
}

func (u *users) add(count int, at time.Time) {
	for range count {
		u.revoked = append(u.revoked, ended{SessionID: fmt.Sprintf("session-%04d", len(u.revoked)), At: at})
	}
}

func (u *users) missing(s *Sessions) (missing int) {
	for _, one := range u.revoked {
		if !s.Revoked(one.SessionID) {
			missing++
		}
	}
	return missing
}

func TestRevokedSessionsAreReadInPages(t *testing.T) {
	u := &users{page: 10}
	s := sessions(t, u)
	if s.Known(t.Context()) == nil {
		t.Error("they are known before the first response")
	}
	u.add(35, time.Now().Add(-time.Minute)) // all at one moment
	u.fails = true
	if s.poll(t.Context()) == nil || s.Known(t.Context()) == nil {
		t.Error("a part of the first response counts for the whole")
	}
	u.fails = false
	if err := s.poll(t.Context()); err != nil || s.Known(t.Context()) != nil || u.missing(s) != 0 {
		t.Errorf("%d of 35 are missing: %v", u.missing(s), err)
	}
	u.add(15, time.Now())
	u.page, u.fails = 40, true // the 35 again, which are within the overlap
	if s.poll(t.Context()) == nil || u.missing(s) != 10 {
		t.Errorf("%d are missing after a poll that failed at its second page, want 10", u.missing(s))
	}
	u.fails = false
	if err := s.poll(t.Context()); err != nil || u.missing(s) != 0 {
		t.Errorf("%d are missing: %v", u.missing(s), err)
	}
}

// The clock of one replica of user-service is ahead. Later entries of the others aren't lost.
func TestClockAheadHidesNoRevokedSession(t *testing.T) {
	u := &users{page: 10}
	s := sessions(t, u)
	u.add(1, time.Now().Add(10*time.Minute))
	if err := s.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.revoked = append([]ended{{SessionID: "later", At: time.Now()}}, u.revoked...)
	if err := s.poll(t.Context()); err != nil || u.missing(s) != 0 {
		t.Errorf("%d of 2 are missing: %v", u.missing(s), err)
	}
}

func TestRevokedSessionIsForgottenAfterItsTokensExpire(t *testing.T) {
	u := &users{page: 10}
	s := sessions(t, u)
	s.revoked.Store(&map[string]time.Time{"old": time.Now().Add(-keepFor - time.Second), "young": time.Now().Add(-time.Minute)})
	if err := s.poll(t.Context()); err != nil || s.Revoked("old") || !s.Revoked("young") {
		t.Errorf("old %t, young %t: %v", s.Revoked("old"), s.Revoked("young"), err)
	}
}
