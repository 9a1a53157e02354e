package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/servicetest"
	"platform.example/apps/notification-service/internal/mail"
)

// deadline limits every wait, also on a busy machine.
const deadline = 30 * time.Second

type notificationResponse struct {
	ID, Type, Title, Body string
	OrderID               string     `json:"order_id"`
	CreatedAt             time.Time  `json:"created_at"`
	ReadAt                *time.Time `json:"read_at"`
}

type inboxResponse struct {
	Notifications []notificationResponse
	Unread        int
	Next          string
}

type problemResponse struct {
	Code, Detail string
	RequestID    string `json:"request_id"`
}

// publisher publishes events like order-service.
type publisher struct {
	t      testing.TB
	client *goredis.Client
}

func newPublisher(t testing.TB, stream *backingtest.Redis) publisher {
	client := stream.Client()
	t.Cleanup(func() { _ = client.Close() })
	return publisher{t, client}
}

func (p publisher) publish(events ...event.Event) {
	p.t.Helper()
	for _, e := range events {
		stream := event.Orders
		if slices.Contains(mail.Types(), e.Type) {
			stream = event.Mails
		} else if e.Type == event.UserDeleted {
			stream = event.Users
		}
		if err := p.client.XAdd(p.t.Context(), &goredis.XAddArgs{Stream: string(stream), Values: stream.Fields(e)}).Err(); err != nil {
			p.t.Fatal(err)
		}
	}
}

func newEvent(user string) event.Event {
	return eventOf(event.OrderCreated, event.Order{ID: uuid.New(), UserID: uuid.MustParse(user), Status: "pending", Total: 1250, Currency: "EUR", Version: 1})
}

func eventOf(what event.Type, data any) event.Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return event.Event{ID: uuid.Must(uuid.NewV7()), Type: what, OccurredAt: time.Now(), Data: raw}
}

// orderOf returns the id of the order of e.
func orderOf(e event.Event) string {
	o, err := event.Data[event.Order](e)
	if err != nil {
		panic(err)
	}
	return o.ID.String()
}

func as(user string) string { return "X-User-Id: " + user }

func inbox(t testing.TB, base, user, query string) inboxResponse {
	t.Helper()
	response := servicetest.Call(t, "GET", base+"/notifications"+query, "", as(user), "X-User-Role: user")
	if response.Status != http.StatusOK {
		t.Fatalf("the inbox responds with %+v", response)
	}
	return servicetest.JSON[inboxResponse](t, response)
}

// arrives waits until a user has count unread notifications.
func arrives(t testing.TB, base, user string, count int) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		if got := inbox(t, base, user, "?limit=1").Unread; got != count {
			return fmt.Errorf("%d notifications, want %d", got, count)
		}
		return nil
	})
}

func eventuallyStatus(t testing.TB, url string, status int, holds string) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		if got := servicetest.Call(t, "GET", url, ""); got.Status != status || !strings.Contains(got.Body, holds) {
			return fmt.Errorf("%s: %d %s, want %d and %s", url, got.Status, got.Body, status, holds)
		}
		return nil
	})
}

// eventuallyLogged waits for a log line with all of these texts.
func eventuallyLogged(t testing.TB, logs func() string, parts ...string) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		for line := range strings.Lines(logs()) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("the log has a line that is no JSON: %s", line)
			}
			holds := 0
			for _, part := range parts {
				if strings.Contains(line, part) {
					holds++
				}
			}
			if holds == len(parts) {
				return nil
			}
		}
		return errors.New("the log has no line with " + strings.Join(parts, " and "))
	})
}

// standing returns the progress of the group.
func standing(t *testing.T, p publisher) goredis.XInfoGroup {
	t.Helper()
	groups, err := p.client.XInfoGroups(t.Context(), string(event.Orders)).Result()
	if err != nil || len(groups) != 1 {
		t.Fatalf("groups of the stream: %+v, %v", groups, err)
	}
	return groups[0]
}

func eventuallyAcknowledged(t *testing.T, p publisher) {
	t.Helper()
	backingtest.Eventually(t, deadline, func() error {
		if group := standing(t, p); group.Pending != 0 || group.Lag != 0 {
			return fmt.Errorf("the group stands at %+v", group)
		}
		return nil
	})
}
