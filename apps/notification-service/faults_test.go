package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/servicetest"
)

// faults tests outages that the service must survive.
func faults(t *testing.T, s *servicetest.Running, postgres *backingtest.Postgres, stream *backingtest.Redis, p publisher) {
	user := uuid.NewString()
	published := 0
	tell := func() event.Event {
		published++
		return newEvent(user)
	}

	// without breaks Redis or Postgres with do, and waits until the consumer logs it.
	without := func(t *testing.T, log string, do func()) {
		t.Helper()
		before := strings.Count(s.Logs(), log)
		do()
		backingtest.Eventually(t, deadline, func() error {
			if strings.Count(s.Logs(), log) == before {
				return fmt.Errorf("the log doesn't contain %s", log)
			}
			return nil
		})
	}
	const noStream, noDatabase = "the stream is not available right now", "events wait"

	t.Run("Redis is down: the inbox works, and events arrive once Redis is back", func(t *testing.T) {
		without(t, noStream, stream.Stop)
		inbox(t, s.HTTP, user, "")
		eventuallyStatus(t, s.Ops+"/readyz", http.StatusOK, `"stream":"unwell"`)
		stream.Start()
		p.publish(tell())
		arrives(t, s.HTTP, user, published)
		eventuallyStatus(t, s.Ops+"/readyz", http.StatusOK, `"stream":"ok"`)
	})

	t.Run("Redis hangs: the inbox works, and events arrive once Redis responds", func(t *testing.T) {
		without(t, noStream, stream.Hang)
		inbox(t, s.HTTP, user, "")
		stream.Resume()
		p.publish(tell())
		arrives(t, s.HTTP, user, published)
	})

	t.Run("Redis has lost its data: repeated events have no effect, new ones arrive", func(t *testing.T) {
		before := []event.Event{tell(), tell(), tell()}
		p.publish(before...)
		arrives(t, s.HTTP, user, published)
		stream.Wipe()
		p.publish(before...)
		p.publish(tell())
		arrives(t, s.HTTP, user, published)
		eventuallyAcknowledged(t, p)
		arrives(t, s.HTTP, user, published)
	})

	t.Run("Postgres is killed: responses have Retry-After, events wait", func(t *testing.T) {
		without(t, noDatabase, func() {
			postgres.Stop()
			for range 30 {
				p.publish(tell())
			}
		})
		response := servicetest.Call(t, "GET", s.HTTP+"/notifications", "", as(user))
		if response.Status != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Errorf("got %+v, want 503 with Retry-After", response)
		}
		eventuallyStatus(t, s.Ops+"/readyz", http.StatusServiceUnavailable, `"postgres":"unwell"`)
		eventuallyStatus(t, s.Ops+"/livez", http.StatusOK, "ok")
		postgres.Start()
		arrives503(t, s.HTTP, user, published)
	})

	t.Run("Postgres hangs: events wait", func(t *testing.T) {
		without(t, noDatabase, func() {
			postgres.Hang()
			p.publish(tell())
		})
		postgres.Resume()
		arrives503(t, s.HTTP, user, published)
	})

	if dead := p.client.XLen(t.Context(), event.Orders.DeadLetters()).Val(); dead != 0 {
		t.Errorf("%d events are dead, want none", dead)
	}
}

// arrives503 is like arrives, but tolerates a database that is restarting.
func arrives503(t *testing.T, base, user string, count int) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		response := servicetest.Call(t, "GET", base+"/notifications", "", as(user))
		if response.Status != http.StatusOK {
			return fmt.Errorf("the inbox responds with %d", response.Status)
		}
		return nil
	})
	arrives(t, base, user, count)
}
