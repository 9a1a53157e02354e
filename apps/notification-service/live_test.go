package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/performancetest"
	"platform.example/apps/internal/servicetest"
)

// liveService responds like the live Service: with the colour that it selects.
type liveService struct {
	colour   atomic.Value
	requests atomic.Int64
	*httptest.Server
}

func newLiveService(t *testing.T, colour string) *liveService {
	n := &liveService{}
	n.colour.Store(colour)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"colour":%q}`, n.colour.Load())
		n.requests.Add(1)
	}))
	t.Cleanup(n.Close)
	return n
}

// awaitRequests waits for that many more requests of the colours.
func (n *liveService) awaitRequests(t *testing.T, times int64) {
	t.Helper()
	from := n.requests.Load()
	backingtest.Eventually(t, deadline, func() error {
		if requests := n.requests.Load() - from; requests < times {
			return fmt.Errorf("got %d requests, want %d", requests, times)
		}
		return nil
	})
}

func TestColourThatIsNotLiveConsumesNothing(t *testing.T) {
	postgres, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	live := newLiveService(t, "green")
	env := servicetest.Env(postgres.Env(), stream.Env(name), map[string]string{"SERVICE_COLOUR": "blue", "LIVE_URL": live.URL})
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	p := newPublisher(t, stream)
	user := uuid.NewString()

	p.publish(newEvent(user))
	live.awaitRequests(t, 3)
	if groups := p.client.XInfoGroups(t.Context(), string(event.Orders)).Val(); len(groups) != 0 {
		t.Errorf("a group exists although no colour is live: %+v", groups)
	}
	if got := inbox(t, s.HTTP, user, ""); got.Unread != 0 {
		t.Errorf("got %+v", got)
	}
	eventuallyStatus(t, s.Ops+"/metrics", http.StatusOK, `notification_service_stream_lag{consumer="notification-service"} 1`) // a colour that isn't live reports it, too

	live.colour.Store("blue")
	arrives(t, s.HTTP, user, 1)

	live.colour.Store("green")
	eventuallyLogged(t, s.Logs, "the live colour has changed", `"live":false`)
	p.publish(newEvent(user), newEvent(user))
	live.awaitRequests(t, 6) // for longer than a read of the stream blocks
	if got := inbox(t, s.HTTP, user, ""); got.Unread != 1 {
		t.Errorf("%d notifications, want that of when it was live", got.Unread)
	}

	live.colour.Store("blue")
	arrives(t, s.HTTP, user, 3)
}

func TestSeveralProcesses(t *testing.T) {
	postgres, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	live := newLiveService(t, "blue")
	build := func(colour string) *servicetest.Binary {
		return servicetest.Build(t, "platform.example/apps/"+name, servicetest.Env(postgres.Env(), stream.Env(name),
			map[string]string{"SERVICE_COLOUR": colour, "LIVE_URL": live.URL}))
	}
	blue, green := build("blue"), build("green")
	blue.Run("migrate")
	p := newPublisher(t, stream)

	t.Run("an idle replica needs at most 30 MiB", func(t *testing.T) {
		process := blue.Start()
		arrives(t, process.HTTP, uuid.NewString(), 0) // it has connected to Postgres
		live.awaitRequests(t, 6)                      // and read the stream
		performancetest.CheckIdleMemory(t, process.PID())
		process.Kill()
	})

	t.Run("another replica takes over from a killed one", func(t *testing.T) {
		const events = 1000
		user := uuid.NewString()
		for range events {
			p.publish(newEvent(user))
		}
		first := blue.Start()
		backingtest.Eventually(t, deadline, func() error {
			if inbox(t, first.HTTP, user, "?limit=1").Unread == 0 {
				return errors.New("nothing has arrived yet")
			}
			return nil
		})
		first.Kill()
		if left := standing(t, p).Lag; left == 0 {
			t.Fatal("it was done before it was killed: this shows nothing")
		}
		growOld(t, p.client)
		second := blue.Start()
		eventuallyAcknowledged(t, p)
		arrives(t, second.HTTP, user, events)
		second.Kill()
	})

	t.Run("the live colour changes repeatedly while events arrive", func(t *testing.T) {
		const rounds, atOnce = 8, 50
		user, events := uuid.NewString(), 0
		publish := func(count int) {
			for range count {
				p.publish(newEvent(user))
			}
			events += count
		}
		colours := map[string]*servicetest.Process{"blue": blue.Start(), "green": green.Start()}
		for round := range rounds {
			publish(atOnce)
			now := []string{"green", "blue"}[round%2]
			before := handledBy(t, colours[now])
			live.colour.Store(now)
			publish(atOnce)
			backingtest.Eventually(t, deadline, func() error {
				publish(1)
				if handledBy(t, colours[now]) == before {
					return fmt.Errorf("%s is live and handles nothing", now)
				}
				return nil
			})
		}
		eventuallyAcknowledged(t, p)
		arrives(t, colours["blue"].HTTP, user, events)
		if sum := handledBy(t, colours["blue"]) + handledBy(t, colours["green"]); sum > events {
			t.Errorf("%d events have had an effect, of %d", sum, events)
		}
	})
}

// growOld makes the pending entries stale.
func growOld(t *testing.T, client *goredis.Client) {
	t.Helper()
	pending, err := client.XPendingExt(t.Context(), &goredis.XPendingExtArgs{
		Stream: string(event.Orders), Group: name, Start: "-", End: "+", Count: 1000,
	}).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range pending {
		err := client.Do(t.Context(), "XCLAIM", string(event.Orders), name, entry.Consumer, 0, entry.ID,
			"IDLE", (30 * time.Second).Milliseconds(), "JUSTID").Err()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func handledBy(t *testing.T, p *servicetest.Process) int {
	t.Helper()
	for line := range strings.Lines(servicetest.Call(t, "GET", p.Ops+"/metrics", "").Body) {
		value, found := strings.CutPrefix(line, `notification_service_events_handled_total{consumer="notification-service",outcome="handled",type="order.created"} `)
		if found {
			count, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return count
		}
	}
	return 0
}
