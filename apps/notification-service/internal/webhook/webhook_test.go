package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/notification-service/internal/notification"
	"platform.example/apps/notification-service/internal/store"
)

const (
	deadline  = 30 * time.Second
	theSecret = "a secret of a test; 32 bytes long.," + "the secret before it; 32 bytes too."
)

// receiver records every attempt and responds with the next of its statuses, finally with the last one; 0 means no
// response.
type receiver struct {
	t *testing.T
	*httptest.Server

	retryAfter string // header of every response

	mu       sync.Mutex
	statuses []int
	attempts []attempt
}

type attempt struct {
	at   time.Time
	id   string
	path string
	body string
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	t.Helper()
	r := &receiver{t: t, statuses: statuses}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		r.t.Error(err)
	}
	r.verify(request.Header, string(body))
	r.mu.Lock()
	status := r.statuses[0]
	if len(r.statuses) > 1 {
		r.statuses = r.statuses[1:]
	}
	r.attempts = append(r.attempts, attempt{time.Now(), request.Header.Get("webhook-id"), request.URL.Path, string(body)})
	r.mu.Unlock()
	if status == 0 {
		<-request.Context().Done()
		return
	}
	if r.retryAfter != "" {
		w.Header().Set("Retry-After", r.retryAfter)
	}
	if status == http.StatusFound {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
}

// verify verifies a request as the specification requires.
func (r *receiver) verify(h http.Header, body string) {
	seconds, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > time.Minute {
		r.t.Errorf("webhook-timestamp is %q", h.Get("webhook-timestamp"))
	}
	// A receiver has only one of the secrets.
	for _, secret := range strings.Split(theSecret, ",") {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(strings.Join([]string{h.Get("webhook-id"), h.Get("webhook-timestamp"), body}, ".")))
		fits := false
		for _, signature := range strings.Fields(h.Get("webhook-signature")) {
			version, encoded, _ := strings.Cut(signature, ",")
			got, err := base64.StdEncoding.DecodeString(encoded)
			fits = fits || version == "v1" && err == nil && hmac.Equal(got, mac.Sum(nil))
		}
		if !fits {
			r.t.Errorf("no signature in %q fits", h.Get("webhook-signature"))
		}
	}
}

func (r *receiver) seen() []attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]attempt(nil), r.attempts...)
}

// outbox is the real database of deliveries.
type outbox struct {
	t     *testing.T
	pool  *pgxpool.Pool
	store *store.Store
}

func newOutbox(t *testing.T) *outbox {
	t.Helper()
	database := backingtest.StartPostgres(t).Env()
	env := config.From(func(name string) (string, bool) { value, ok := database[name]; return value, ok })
	log := slog.New(slog.DiscardHandler)
	at := postgres.ReadConfig(env)
	if err := errors.Join(env.Err(), postgres.Migrate(t.Context(), at, os.DirFS("../../migrations"), log)); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), at, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &outbox{t: t, pool: pool, store: store.New(pool)}
}

func (o *outbox) add() notification.Notification {
	o.t.Helper()
	data, err := json.Marshal(event.Order{ID: uuid.New(), UserID: uuid.New(), Total: 7, Currency: "EUR"})
	if err != nil {
		o.t.Fatal(err)
	}
	e := event.Event{ID: uuid.Must(uuid.NewV7()), Type: event.OrderPaid, OccurredAt: time.Now(), Data: data}
	n, err := notification.From(e)
	if err != nil {
		o.t.Fatal(err)
	}
	effect, err := store.Notify(true)(e)
	if err == nil {
		err = pgx.BeginFunc(o.t.Context(), o.pool, func(tx pgx.Tx) error { return effect(o.t.Context(), tx) })
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

type delivery struct {
	Attempts              int
	NextAttemptAt         time.Time
	DeliveredAt, GaveUpAt *time.Time
	LastError             *string
}

func (o *outbox) delivery(id uuid.UUID) delivery {
	o.t.Helper()
	rows, err := o.pool.Query(o.t.Context(),
		"SELECT attempts, next_attempt_at, delivered_at, gave_up_at, last_error FROM webhook_deliveries WHERE notification_id = $1", id)
	if err != nil {
		o.t.Fatal(err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[delivery])
	if err != nil {
		o.t.Fatal(err)
	}
	return d
}

func (o *outbox) run(to *receiver, retry Retry) (stop func()) {
	o.t.Helper()
	at, err := url.Parse(to.URL + "/hook")
	if err != nil {
		o.t.Fatal(err)
	}
	known, err := secrets(theSecret)
	if err != nil {
		o.t.Fatal(err)
	}
	d := New(Config{URL: at, Secrets: known}, retry, o.store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	o.t.Cleanup(stop)
	return stop
}

func (o *outbox) eventually(id uuid.UUID, what string, condition func(delivery) bool) delivery {
	o.t.Helper()
	var d delivery
	backingtest.Eventually(o.t, deadline, func() error {
		if d = o.delivery(id); !condition(d) {
			return fmt.Errorf("not %s: %+v", what, d)
		}
		return nil
	})
	return d
}

func delivered(d delivery) bool { return d.DeliveredAt != nil }
func gaveUp(d delivery) bool    { return d.GaveUpAt != nil }

func TestDeliveries(t *testing.T) {
	o := newOutbox(t)
	quick := Retry{Backoff: backoff.Policy{Base: 100 * time.Millisecond, Max: time.Second}, Attempts: 4}

	t.Run("the receiver gets the notification and its user", func(t *testing.T) {
		to := newReceiver(t, http.StatusNoContent)
		n := o.add()
		defer o.run(to, quick)()
		if d := o.eventually(n.ID, "delivered", delivered); d.Attempts != 1 || d.LastError != nil {
			t.Errorf("got %+v", d)
		}
		got := to.seen()[0]
		var body struct {
			ID, Type, Title, Body string
			UserID                string `json:"user_id"`
			OrderID               string `json:"order_id"`
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		if got.id != n.ID.String() || body.ID != got.id || body.UserID != n.UserID.String() || body.OrderID != n.OrderID.String() ||
			body.Type != "order.paid" || body.Title != n.Title || body.Body != n.Body || got.path != "/hook" {
			t.Errorf("got %+v of %+v", got, n)
		}
	})

	t.Run("a failed delivery is retried with growing delays and the same body", func(t *testing.T) {
		to := newReceiver(t, 500, 302, 404, 200)
		n := o.add()
		defer o.run(to, quick)()
		if d := o.eventually(n.ID, "delivered", delivered); d.Attempts != 4 {
			t.Errorf("got %+v", d)
		}
		seen := to.seen()
		if len(seen) != 4 {
			t.Fatalf("%d attempts, want 4", len(seen))
		}
		for i, again := range seen[1:] {
			if again.id != seen[0].id || again.body != seen[0].body || again.path != seen[0].path {
				t.Errorf("attempt %d is another: %+v", i+2, again)
			}
			// The delay is at least half of the doubled delay.
			if least := quick.Backoff.Base << i / 2; again.at.Sub(seen[i].at) < least {
				t.Errorf("attempt %d came after %s, want at least %s", i+2, again.at.Sub(seen[i].at), least)
			}
		}
	})

	t.Run("delays grow, according to the due time in the database", func(t *testing.T) {
		to := newReceiver(t, 500)
		n := o.add()
		slow := Retry{Backoff: backoff.Policy{Base: time.Hour, Max: 4 * time.Hour}, Attempts: 12}
		defer o.run(to, slow)()
		for _, full := range []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 4 * time.Hour} {
			d := o.eventually(n.ID, "put off", func(d delivery) bool { return time.Until(d.NextAttemptAt) > lease })
			if wait := time.Until(d.NextAttemptAt); wait < full/2-time.Minute || wait > full {
				t.Errorf("attempt %d is followed by a wait of %s, want %s to %s", d.Attempts, wait, full/2, full)
			}
			if _, err := o.pool.Exec(t.Context(), "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE notification_id = $1", n.ID); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.pool.Exec(t.Context(), "UPDATE webhook_deliveries SET gave_up_at = now() WHERE notification_id = $1", n.ID); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a delivery is given up after the last attempt", func(t *testing.T) {
		to := newReceiver(t, 503)
		n := o.add()
		defer o.run(to, quick)()
		d := o.eventually(n.ID, "given up", gaveUp)
		if len(to.seen()) != 4 || d.Attempts != 4 || d.LastError == nil || !strings.Contains(*d.LastError, "503") {
			t.Errorf("%d attempts, %+v", len(to.seen()), d)
		}
	})

	t.Run("a retry waits for Retry-After", func(t *testing.T) {
		to := newReceiver(t, http.StatusTooManyRequests, 200)
		to.retryAfter = "2"
		n := o.add()
		defer o.run(to, quick)()
		o.eventually(n.ID, "delivered", delivered)
		if seen := to.seen(); len(seen) != 2 || seen[1].at.Sub(seen[0].at) < 2*time.Second-10*time.Millisecond {
			t.Errorf("attempts: %+v", seen)
		}
	})

	t.Run("410 Gone ends the delivery", func(t *testing.T) {
		to := newReceiver(t, http.StatusGone)
		n := o.add()
		defer o.run(to, quick)()
		if d := o.eventually(n.ID, "given up", gaveUp); len(to.seen()) != 1 || d.Attempts != 1 {
			t.Errorf("%d attempts, %+v", len(to.seen()), d)
		}
	})

	t.Run("attempts that a crash aborted count", func(t *testing.T) {
		to := newReceiver(t, http.StatusOK)
		n := o.add()
		if _, err := o.pool.Exec(t.Context(), "UPDATE webhook_deliveries SET attempts = 4 WHERE notification_id = $1", n.ID); err != nil {
			t.Fatal(err)
		}
		defer o.run(to, quick)()
		if o.eventually(n.ID, "given up", gaveUp); len(to.seen()) != 0 {
			t.Errorf("there was a fifth of four attempts")
		}
	})

	t.Run("a stopping deliverer releases its deliveries without counting the attempt", func(t *testing.T) {
		to := newReceiver(t, 0, 200)
		n := o.add()
		stop := o.run(to, quick)
		backingtest.Eventually(t, deadline, func() error {
			if len(to.seen()) == 0 {
				return errors.New("no attempt")
			}
			return nil
		})
		stop()
		if d := o.delivery(n.ID); d.Attempts != 0 || time.Until(d.NextAttemptAt) > 0 || d.LastError != nil {
			t.Errorf("got %+v", d)
		}
		defer o.run(to, quick)()
		o.eventually(n.ID, "delivered", delivered)
	})

	t.Run("several replicas deliver each notification once", func(t *testing.T) {
		to := newReceiver(t, http.StatusOK)
		var ids []uuid.UUID
		for range 60 {
			ids = append(ids, o.add().ID)
		}
		for range 3 {
			defer o.run(to, quick)()
		}
		for _, id := range ids {
			o.eventually(id, "delivered", delivered)
		}
		times := map[string]int{}
		for _, a := range to.seen() {
			times[a.id]++
		}
		for _, id := range ids {
			if times[id.String()] != 1 {
				t.Errorf("%s was delivered %d times", id, times[id.String()])
			}
		}
	})

	if count, err := o.store.PendingDeliveries(t.Context()); err != nil || count != 0 {
		t.Errorf("%d deliveries are pending, %v", count, err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for raw, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "90": 90 * time.Second, "99999999999": maxRetryAfter, "soon": 0,
		now.Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {raw}}, now); got != want {
			t.Errorf("%q: %s, want %s", raw, got, want)
		}
	}
}

func TestReadConfig(t *testing.T) {
	long := strings.Repeat("s", minSecretBytes)
	for _, c := range []struct {
		name, url, secret string
		fault             string // "": none
	}{
		{"neither", "", "", ""},
		{"both", "https://example.com/hook", long, ""},
		{"no secret", "https://example.com/hook", "", "WEBHOOK_SECRET"},
		{"no URL", "", long, "WEBHOOK_URL"},
		{"a short secret", "https://example.com/hook", long[1:], "WEBHOOK_SECRET has 31 bytes"},
		{"a secret and the one before it", "https://example.com/hook", long + "," + long, ""},
		{"a short one before it", "https://example.com/hook", long + "," + long[1:], "WEBHOOK_SECRET has 31 bytes"},
		{"a URL that is none", "example.com", long, "WEBHOOK_URL"},
		{"another scheme", "ftp://example.com", long, "WEBHOOK_URL"},
	} {
		env := config.From(func(name string) (string, bool) {
			value := map[string]string{"WEBHOOK_URL": c.url, "WEBHOOK_SECRET": c.secret}[name]
			return value, value != ""
		})
		got, err := ReadConfig(env), env.Err()
		if (err == nil) != (c.fault == "") || err != nil && (!strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), long[1:])) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if err == nil && (got.URL != nil) != (c.url != "") {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

// The delay is never negative and never above the limit, whatever Retry-After is.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "-1", "7", "99999999999999999999", "9223372036854775807", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "1.5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if got := retryAfter(http.Header{"Retry-After": {raw}}, time.Now()); got < 0 || got > maxRetryAfter {
			t.Errorf("%q is a wait of %s", raw, got)
		}
	})
}
