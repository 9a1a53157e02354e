package limit

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
)

func newLimit(max int, window time.Duration, now func() time.Time) *Limit {
	l := New("test", max, window, prometheus.NewRegistry())
	l.now = now
	return l
}

func taken(l *Limit, client string, tries int) (ok int) {
	for range tries {
		if allowed, _ := l.Take(client); allowed {
			ok++
		}
	}
	return ok
}

func TestLimitPerWindow(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).Truncate(time.Minute)
	l := newLimit(10, time.Minute, func() time.Time { return now })
	if n := taken(l, "a", 25); n != 10 {
		t.Errorf("%d were allowed, want 10", n)
	}
	if n := taken(l, "b", 5); n != 5 {
		t.Errorf("another client was allowed %d, want 5", n)
	}
	_, wait := l.Take("a")
	now = now.Add(wait - time.Second)
	if ok, _ := l.Take("a"); ok {
		t.Error("allowed well before the announced time")
	}
	now = now.Add(time.Second)
	if ok, _ := l.Take("a"); !ok {
		t.Errorf("not allowed after the announced %s", wait)
	}
}

func TestUndo(t *testing.T) {
	registry := prometheus.NewRegistry()
	l := New("test", 2, time.Hour, registry)
	for range 10 {
		if ok, _ := l.Take("a"); !ok {
			t.Fatal("not allowed")
		}
		l.Undo("a")
	}
	l.Undo("a")
	if n := taken(l, "a", 5); n != 2 {
		t.Errorf("%d were allowed, want 2", n)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	family, metric := families[0], families[0].GetMetric()[0]
	if family.GetName() != "gateway_rate_limited_total" || metric.GetLabel()[0].GetValue() != "test" || metric.GetCounter().GetValue() != 3 {
		t.Errorf("3 requests were refused, the metric is %v", family)
	}
}

// For any sequence of requests, no window contains more than twice the allowed number, a long time contains no more
// than allowed, and a client that waits for the announced time is allowed.
func TestProperties(t *testing.T) {
	const max, window = 20, 10 * time.Second
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			start := time.Unix(1_700_000_000, 0)
			now := start
			l := newLimit(max, window, func() time.Time { return now })
			var allowed []time.Time
			for range 2000 {
				now = now.Add(time.Duration(random.IntN(400)) * time.Millisecond)
				ok, wait := l.Take("a")
				if ok {
					allowed = append(allowed, now)
					continue
				}
				if wait <= 0 || wait > 2*window+time.Millisecond {
					t.Fatalf("come again after %s", wait)
				}
				if random.IntN(10) == 0 {
					now = now.Add(wait)
					if again, _ := l.Take("a"); !again {
						t.Fatalf("refused after waiting for the announced %s", wait)
					}
					allowed = append(allowed, now)
				}
			}
			first := 0
			for last := range allowed {
				for allowed[last].Sub(allowed[first]) >= window {
					first++
				}
				if n := last - first + 1; n > 2*max {
					t.Fatalf("%d within a window", n)
				}
			}
			if most := max * (1.2*now.Sub(start).Seconds()/window.Seconds() + 1); float64(len(allowed)) > most {
				t.Errorf("%d were allowed, want at most %.0f", len(allowed), most)
			}
		})
	}
}

func TestReplicasCountTogether(t *testing.T) {
	redis := backingtest.StartRedis(t)
	client := redis.ClientOf("api-gateway")
	t.Cleanup(func() { _ = client.Close() })
	now := time.Now().Truncate(time.Hour)
	replica := func() *Limit { return newLimit(10, time.Hour, func() time.Time { return now }) }
	share := func(limits ...*Limit) {
		t.Helper()
		for _, l := range limits {
			if err := l.share(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
	}
	one, other := replica(), replica()
	if n := taken(one, "a", 6) + taken(other, "a", 1); n != 7 {
		t.Fatalf("%d were allowed, want 7", n)
	}
	share(one, other)
	if n := taken(other, "a", 10); n != 3 {
		t.Errorf("%d more were allowed, want 3: the other replica has had 6", n)
	}

	// A new replica reads the previous window, too.
	share(other)
	now = now.Add(time.Hour)
	third := replica()
	if ok, _ := third.Take("a"); !ok {
		t.Fatal("a new replica without counts refuses")
	}
	share(third)
	if ok, _ := third.Take("a"); ok {
		t.Error("it knows the previous window, but allows")
	}
}

func TestReplicasCountAloneWithoutRedisAndShareLater(t *testing.T) {
	redis := backingtest.StartRedis(t)
	client := redis.ClientOf("api-gateway")
	t.Cleanup(func() { _ = client.Close() })
	one, other := New("test", 10, 24*time.Hour, prometheus.NewRegistry()), New("test", 10, 24*time.Hour, prometheus.NewRegistry())
	redis.Stop()
	if err := one.share(t.Context(), client); err != nil {
		t.Fatal("it fails without counts to share")
	}
	if n := taken(one, "a", 20); n != 10 {
		t.Errorf("%d were allowed without Redis, want 10", n)
	}
	if err := one.share(t.Context(), client); err == nil {
		t.Fatal("Redis responds")
	}
	if n := taken(one, "a", 20); n != 0 {
		t.Errorf("%d more were allowed", n)
	}
	redis.Start()

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { Share(ctx, client, slog.New(slog.DiscardHandler), one, other); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	backingtest.Eventually(t, 20*time.Second, func() error {
		if ok, _ := other.Take("a"); ok {
			other.Undo("a")
			// A replica reads the shared count only when it has requests to report.
			_, _ = other.Take("a")
			return fmt.Errorf("the other replica allows: it doesn't know of the 10")
		}
		return nil
	})
}

// Redis reports the first failure of a pipeline, which may be a missing key of another client.
func TestCountIsKeptIfRedisRefusesIt(t *testing.T) {
	redis := backingtest.StartRedis(t)
	client := redis.ClientOf("api-gateway")
	t.Cleanup(func() { _ = client.Close() })
	now := time.Now().Truncate(time.Hour)
	l := newLimit(10, time.Hour, func() time.Time { return now })
	admin := redis.Client()
	defer func() { _ = admin.Close() }()
	if err := admin.Set(t.Context(), l.key("a", l.windowAt(now)), "no number", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // the order of clients is random
		l.Take(fmt.Sprint("other", i))
	}
	taken(l, "a", 10)
	_ = l.share(t.Context(), client) // fails only if "a" is the first
	if n := taken(l, "a", 10); n != 0 {
		t.Errorf("%d more were allowed, want 0", n)
	}
}

func TestMemoryIsLimited(t *testing.T) {
	l := New("test", 10, time.Hour, prometheus.NewRegistry())
	for i := range 2 * maxClients {
		l.Take(fmt.Sprint(i))
	}
	held := 0
	for i := range l.shards {
		held += len(l.shards[i].clients)
	}
	if held > maxClients {
		t.Errorf("%d clients are stored, want at most %d", held, maxClients)
	}
}

func BenchmarkTake(b *testing.B) {
	l := New("test", 1<<30, time.Minute, prometheus.NewRegistry())
	b.ReportAllocs()
	for b.Loop() {
		l.Take("0190f3a0-0000-7000-8000-000000000001")
	}
}
