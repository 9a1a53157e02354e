package load

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSettleFindsADuplicateNotification(t *testing.T) {
	f := newFake(t)
	f.notifies = func(n int) int {
		if n == 3 {
			return 2
		}
		return 1
	}
	r := f.start(t, nil)
	r.settleFails(t, "1 orders have more than one notification: token-1-")
	if f.removed != 2 {
		t.Errorf("%d users were removed, want 2", f.removed)
	}
}

func TestSettleFindsAMissingOrder(t *testing.T) {
	f := newFake(t)
	f.stores = func(n int) bool { return n != 3 }
	f.notifies = func(n int) int {
		if n == 3 {
			return 0
		}
		return 1
	}
	f.start(t, nil).settleFails(t, "1 orders were acknowledged and aren't stored")
}

func TestSettleFindsAMissingNotification(t *testing.T) {
	f := newFake(t)
	f.notifies = func(n int) int { return min(n, 1) }
	f.start(t, nil).settleFails(t, "1 orders have no notification")
}

// settleFails requires that Settle fails with the error at once, without waiting for recovery.
func (r *Run) settleFails(t *testing.T, want string) {
	t.Helper()
	<-r.Done()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := r.Settle(ctx); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\ndoesn't contain: %s", err, want)
	}
}

// Events take some time.
func TestSettleWaitsForNotifications(t *testing.T) {
	f := newFake(t)
	reads := 0
	f.notifies = func(n int) int {
		if n > 0 {
			return 1
		}
		reads++
		return min(reads/20, 1) // lists are read while the load runs, too
	}
	r := f.start(t, nil)
	<-r.Done()
	reads = 17
	if err := r.Settle(t.Context()); err != nil {
		t.Error(err)
	}
}

// An order whose request got no response may exist; any other unacknowledged order must not.
func TestSettleAcceptsAnOrderWithoutAResponse(t *testing.T) {
	f := newFake(t)
	var failed atomic.Int32
	f.before = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && failed.Add(1) <= 2 { // the order is created, and the response is lost
			f.order(discard{http.Header{}}, r)
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	r := f.start(t, nil)
	if lost := whole(r).Lost(); len(lost) != 2 {
		t.Errorf("lost: %+v, want 2", lost)
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Error(err)
	}

}

func TestSettleFindsAnUnknownOrder(t *testing.T) {
	f := newFake(t)
	r := f.start(t, nil)
	<-r.Done()
	f.mu.Lock()
	f.orders["Bearer "+r.users[0].token] = append(f.orders["Bearer "+r.users[0].token], "unknown")
	f.mu.Unlock()
	r.settleFails(t, "1 orders are stored and were never acknowledged, want at most 0: unknown")
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name         string
		acknowledged []string
		unknown      int
		held         holdings
		final        bool
		want         string
	}{
		{"nothing", nil, 0, holdings{}, false, ""},
		{"the same", []string{"a"}, 0, holdings{map[string]int{"a": 1}, map[string]int{"a": 1}}, false, ""},
		{"two responses", []string{"a", "a"}, 0, holdings{map[string]int{"a": 1}, map[string]int{"a": 1}}, true, "were returned for two requests: a"},
		{"notified before it is stored", []string{"a"}, 0, holdings{nil, map[string]int{"a": 1}}, false, "aren't stored: a"},
		{"one more, unknown", nil, 1, holdings{map[string]int{"a": 1}, map[string]int{"a": 1}}, false, ""},
		{"many", []string{"a", "b", "c", "d", "e", "f", "g"}, 0, holdings{}, false, "7 orders were acknowledged and aren't stored: a, b, c, d, e and 2 more"},
	} {
		final, err := c.held.compare(c.acknowledged, c.unknown)
		if err == nil {
			err = errors.New("")
		}
		if final != c.final || c.want == "" && err.Error() != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: final: %t, %v", c.name, final, err)
		}
	}
}
