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

func TestAnOrderThatWasToldTwiceIsFound(t *testing.T) {
	f := newFake(t)
	f.tells = func(n int) int {
		if n == 3 {
			return 2
		}
		return 1
	}
	r := f.start(t, nil)
	r.settlesNot(t, "1 orders have more than one notification: token-1-")
	if f.removed != 2 {
		t.Errorf("%d users were removed, want 2", f.removed)
	}
}

func TestAnOrderThatIsGoneIsFound(t *testing.T) {
	f := newFake(t)
	f.stores = func(n int) bool { return n != 3 }
	f.tells = func(n int) int {
		if n == 3 {
			return 0
		}
		return 1
	}
	f.start(t, nil).settlesNot(t, "1 orders were acknowledged and aren't stored")
}

func TestAnOrderOfWhichNobodyWasToldIsFound(t *testing.T) {
	f := newFake(t)
	f.tells = func(n int) int { return min(n, 1) }
	f.start(t, nil).settlesNot(t, "1 orders have no notification")
}

// settlesNot wants what is amiss to be found, and doesn't wait for it to be mended.
func (r *Run) settlesNot(t *testing.T, want string) {
	t.Helper()
	<-r.Done()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := r.Settle(ctx); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\ndoesn't say: %s", err, want)
	}
}

// Events take their time.
func TestANotificationMayCome(t *testing.T) {
	f := newFake(t)
	asked := 0
	f.tells = func(n int) int {
		if n > 0 {
			return 1
		}
		asked++
		return min(asked/20, 1) // lists are read while the load runs, too
	}
	r := f.start(t, nil)
	<-r.Done()
	asked = 17
	if err := r.Settle(t.Context()); err != nil {
		t.Error(err)
	}
}

// An order whose request got no answer may be there or not; one that nobody asked for may not.
func TestAnOrderWithoutAnAnswerMayBeStored(t *testing.T) {
	f := newFake(t)
	var failed atomic.Int32
	f.before = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && failed.Add(1) <= 2 { // it is made, and the answer lost
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

func TestAnOrderThatNobodyPlacedIsFound(t *testing.T) {
	f := newFake(t)
	r := f.start(t, nil)
	<-r.Done()
	f.mu.Lock()
	f.orders["Bearer "+r.users[0].token] = append(f.orders["Bearer "+r.users[0].token], "nobody's")
	f.mu.Unlock()
	r.settlesNot(t, "1 orders are stored and were never acknowledged, want at most 0: nobody's")
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
		{"two answers", []string{"a", "a"}, 0, holdings{map[string]int{"a": 1}, map[string]int{"a": 1}}, true, "answer to two requests: a"},
		{"told before it is stored", []string{"a"}, 0, holdings{nil, map[string]int{"a": 1}}, false, "aren't stored: a"},
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
