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

// faults are what the service must survive.
func faults(t *testing.T, s *servicetest.Running, postgres *backingtest.Postgres, stream *backingtest.Redis, p publisher) {
	user := uuid.NewString()
	told := 0
	tell := func() event.Event {
		told++
		return newEvent(user)
	}

	// without waits until the consumer has noticed what was done to Redis or Postgres.
	without := func(t *testing.T, log string, do func()) {
		t.Helper()
		before := strings.Count(s.Logs(), log)
		do()
		backingtest.Eventually(t, deadline, func() error {
			if strings.Count(s.Logs(), log) == before {
				return fmt.Errorf("the log doesn't say: %s", log)
			}
			return nil
		})
	}
	const noStream, noDatabase = "the stream is not available right now", "events wait"

	t.Run("Redis is down: the inbox goes on, and events once it is back", func(t *testing.T) {
		without(t, noStream, stream.Stop)
		inbox(t, s.HTTP, user, "")
		eventuallyStatus(t, s.Ops+"/readyz", http.StatusOK, `"stream":"unwell"`)
		stream.Start()
		p.publish(tell())
		arrives(t, s.HTTP, user, told)
		eventuallyStatus(t, s.Ops+"/readyz", http.StatusOK, `"stream":"ok"`)
	})

	t.Run("Redis hangs: the inbox goes on, and events once it answers", func(t *testing.T) {
		without(t, noStream, stream.Hang)
		inbox(t, s.HTTP, user, "")
		stream.Resume()
		p.publish(tell())
		arrives(t, s.HTTP, user, told)
	})

	t.Run("Redis has lost everything: what is told again is known, what is new arrives", func(t *testing.T) {
		before := []event.Event{tell(), tell(), tell()}
		p.publish(before...)
		arrives(t, s.HTTP, user, told)
		stream.Wipe()
		p.publish(before...)
		p.publish(tell())
		arrives(t, s.HTTP, user, told)
		eventuallyAcknowledged(t, p)
		arrives(t, s.HTTP, user, told)
	})

	t.Run("Postgres is killed: requests are told when to come back, events wait", func(t *testing.T) {
		without(t, noDatabase, func() {
			postgres.Stop()
			for range 30 {
				p.publish(tell())
			}
		})
		answer := servicetest.Call(t, "GET", s.HTTP+"/notifications", "", as(user))
		if answer.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("got %+v, want 503 with Retry-After", answer)
		}
		eventuallyStatus(t, s.Ops+"/readyz", http.StatusServiceUnavailable, `"postgres":"unwell"`)
		eventuallyStatus(t, s.Ops+"/livez", http.StatusOK, "ok")
		postgres.Start()
		arrives503(t, s.HTTP, user, told)
	})

	t.Run("Postgres hangs: events wait", func(t *testing.T) {
		without(t, noDatabase, func() {
			postgres.Hang()
			p.publish(tell())
		})
		postgres.Resume()
		arrives503(t, s.HTTP, user, told)
	})

	if dead := p.client.XLen(t.Context(), event.Orders.DeadLetters()).Val(); dead != 0 {
		t.Errorf("%d events are dead, want none", dead)
	}
}

// arrives503 is arrives for a database that may just be coming back.
func arrives503(t *testing.T, base, user string, count int) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		answer := servicetest.Call(t, "GET", base+"/notifications", "", as(user))
		if answer.Status != http.StatusOK {
			return fmt.Errorf("the inbox answers %d", answer.Status)
		}
		return nil
	})
	arrives(t, base, user, count)
}
