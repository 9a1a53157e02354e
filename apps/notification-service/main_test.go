package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

// All subtests share one Postgres and one Redis, because starting them takes longer than most tests.
func TestNotificationService(t *testing.T) {
	postgres, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	env := servicetest.Env(postgres.Env(), stream.Env(name), map[string]string{
		"SERVICE_VERSION": "0123456789ab", "SERVICE_COLOUR": "blue",
	})
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Without this setting the Postgres of a test may lose its last commits when it is killed.
	if _, err := postgres.Connect().Exec(t.Context(), "ALTER DATABASE postgres SET synchronous_commit = on"); err != nil {
		t.Fatal(err)
	}
	s := servicetest.Start(t, name, commands(), env)
	p := newPublisher(t, stream)
	metrics := func(t *testing.T, wants ...string) {
		t.Helper()
		backingtest.Eventually(t, deadline, func() error {
			body := servicetest.Call(t, "GET", s.Ops+"/metrics", "").Body
			for _, want := range wants {
				if !strings.Contains(body, want) {
					return fmt.Errorf("/metrics lacks %s", want)
				}
			}
			return nil
		})
	}

	t.Run("it passes its own verification", func(t *testing.T) { servicetest.Verifies(t, name, commands(), env, s.HTTP) })

	t.Run("an event becomes a notification that is listed and read", func(t *testing.T) {
		user := uuid.NewString()
		e := newEvent(user)
		e.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		p.publish(e)
		arrives(t, s.HTTP, user, 1)
		got := inbox(t, s.HTTP, user, "")
		n := got.Notifications[0]
		if n.Type != "order.created" || n.Title == "" || !strings.Contains(n.Body, "12.50 EUR") ||
			n.OrderID != orderOf(e) || n.CreatedAt.IsZero() || n.ReadAt != nil || got.Next != "" {
			t.Errorf("got %+v", got)
		}
		eventuallyLogged(t, s.Logs, `"msg":"event"`, e.ID.String(), "0af7651916cd43dd8448eb211c80319c")

		var first *notificationResponse
		for range 2 { // the second time changes nothing
			if response := servicetest.Call(t, "POST", s.HTTP+"/notifications/"+n.ID+"/read", "", as(user)); response.Status != http.StatusNoContent {
				t.Fatalf("reading: %+v", response)
			}
			got := inbox(t, s.HTTP, user, "")
			if got.Unread != 0 || len(got.Notifications) != 1 || got.Notifications[0].ReadAt == nil {
				t.Fatalf("after reading: %+v", got)
			}
			if first == nil {
				first = &got.Notifications[0]
			} else if !first.ReadAt.Equal(*got.Notifications[0].ReadAt) {
				t.Errorf("reading again has changed when it was read")
			}
		}
		if got := inbox(t, s.HTTP, user, "?unread=true"); len(got.Notifications) != 0 {
			t.Errorf("a read notification is listed as unread: %+v", got)
		}
	})

	t.Run("lists by pages, newest first, and marks all as read", func(t *testing.T) {
		user, other := uuid.NewString(), uuid.NewString()
		var want []string
		for range 5 {
			e := newEvent(user)
			p.publish(e, newEvent(other))
			want = append([]string{orderOf(e)}, want...)
		}
		arrives(t, s.HTTP, user, 5)
		arrives(t, s.HTTP, other, 5)
		for _, filter := range []string{"", "&unread=true"} {
			var got []string
			for after := ""; ; {
				page := inbox(t, s.HTTP, user, "?limit=2"+filter+after)
				for _, n := range page.Notifications {
					got = append(got, n.OrderID)
				}
				if page.Unread != 5 {
					t.Errorf("%d are unread, want 5 on every page", page.Unread)
				}
				if page.Next == "" {
					break
				}
				after = "&after=" + page.Next
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("with %q\ngot  %v\nwant %v", filter, got, want)
			}
		}
		if response := servicetest.Call(t, "POST", s.HTTP+"/notifications/read", "", as(user)); response.Status != http.StatusNoContent {
			t.Fatalf("reading all: %+v", response)
		}
		if mine, others := inbox(t, s.HTTP, user, "").Unread, inbox(t, s.HTTP, other, "").Unread; mine != 0 || others != 5 {
			t.Errorf("unread: %d of the caller, %d of another; want 0 and 5", mine, others)
		}
	})

	t.Run("only the user reads an inbox, and an admin may mark notifications", func(t *testing.T) {
		owner, other := uuid.NewString(), uuid.NewString()
		p.publish(newEvent(owner))
		arrives(t, s.HTTP, owner, 1)
		read := s.HTTP + "/notifications/" + inbox(t, s.HTTP, owner, "").Notifications[0].ID + "/read"
		for _, c := range []struct {
			who    string
			header []string
			status int
		}{
			{"nobody", nil, http.StatusUnauthorized},
			{"someone else", []string{as(other), "X-User-Role: user"}, http.StatusNotFound},
			{"someone with a made-up role", []string{as(other), "X-User-Role: root"}, http.StatusUnauthorized},
			{"an admin", []string{as(other), "X-User-Role: admin"}, http.StatusNoContent},
		} {
			if response := servicetest.Call(t, "POST", read, "", c.header...); response.Status != c.status {
				t.Errorf("%s: got %+v, want %d", c.who, response, c.status)
			}
		}
		if got := inbox(t, s.HTTP, other, ""); len(got.Notifications) != 0 || got.Unread != 0 {
			t.Errorf("someone else sees %+v", got)
		}
	})

	t.Run("refuses", func(t *testing.T) {
		user := uuid.NewString()
		for _, c := range []struct {
			name, method, path, identity string
			status                       int
			code                         string
		}{
			{"a list without a user", "GET", "/notifications", "", 401, "unauthenticated"},
			{"a list for an invalid id", "GET", "/notifications", "root", 401, "unauthenticated"},
			{"marking all without a user", "POST", "/notifications/read", "", 401, "unauthenticated"},
			{"a limit of none", "GET", "/notifications?limit=0", user, 400, "malformed"},
			{"a limit out of range", "GET", "/notifications?limit=101", user, 400, "malformed"},
			{"a limit that is huge", "GET", "/notifications?limit=99999999999999999999", user, 400, "malformed"},
			{"a limit that is no number", "GET", "/notifications?limit=x", user, 400, "malformed"},
			{"a cursor that is none", "GET", "/notifications?after=x", user, 400, "malformed"},
			{"a cursor in another form", "GET", "/notifications?after=%7B0190f3a0-0000-7000-8000-000000000001%7D", user, 400, "malformed"},
			{"an unread that is no bool", "GET", "/notifications?unread=1", user, 400, "malformed"},
			{"SQL for a cursor", "GET", "/notifications?after=%27%20OR%201=1--", user, 400, "malformed"},
			{"an invalid id", "POST", "/notifications/1;drop/read", user, 404, "not_found"},
			{"an id in capitals", "POST", "/notifications/0190F3A0-0000-7000-8000-000000000001/read", user, 404, "not_found"},
			{"an id of nothing", "POST", "/notifications/0190f3a0-0000-7000-8000-000000000001/read", user, 404, "not_found"},
			{"a log line in the path", "POST", "/notifications/a%0a%7B%22msg%22:%22forged%22%7D/read", user, 404, "not_found"},
			{"an unknown path", "GET", "/notifications/all/of", user, 404, "not_found"},
			{"an unknown method", "DELETE", "/notifications", user, 405, "method_not_allowed"},
		} {
			t.Run(c.name, func(t *testing.T) {
				response := servicetest.Call(t, c.method, s.HTTP+c.path, "", as(c.identity))
				problem := servicetest.JSON[problemResponse](t, response)
				if response.Status != c.status || problem.Code != c.code || problem.RequestID == "" ||
					response.Header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("got %+v, want %d %s", response, c.status, c.code)
				}
			})
		}
		response := servicetest.Call(t, "POST", s.HTTP+"/notifications/read", strings.Repeat("a", 65<<10), as(user))
		if response.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("a body that is too large: %+v", response)
		}
	})

	t.Run("an event delivered twenty times to two replicas becomes one notification", func(t *testing.T) {
		second := servicetest.Start(t, name, commands(), env)
		user, last := uuid.NewString(), uuid.NewString()
		e := newEvent(user)
		var publishing sync.WaitGroup
		for range 20 {
			publishing.Go(func() { p.publish(e) })
		}
		publishing.Wait()
		for range 50 {
			p.publish(newEvent(last))
		}
		arrives(t, second.HTTP, last, 50)
		eventuallyAcknowledged(t, p)
		if got := inbox(t, s.HTTP, user, ""); len(got.Notifications) != 1 {
			t.Errorf("got %+v, want one", got)
		}
		if err := second.Stop(); err != nil {
			t.Error(err)
		}
	})

	t.Run("an unknown type is skipped", func(t *testing.T) {
		user := uuid.NewString()
		e := newEvent(user)
		e.Type = "order.refunded"
		p.publish(e, newEvent(user))
		arrives(t, s.HTTP, user, 1)
		metrics(t, `notification_service_events_handled_total{consumer="notification-service",outcome="unknown",type="other"} 1`)
	})

	t.Run("metrics", func(t *testing.T) {
		user := uuid.NewString()
		e := newEvent(user)
		p.publish(e, e)
		arrives(t, s.HTTP, user, 1)
		metrics(t,
			`notification_service_events_handled_total{consumer="notification-service",outcome="duplicate",type="order.created"}`,
			`notification_service_events_handled_total{consumer="notification-service",outcome="handled",type="order.created"}`,
			`notification_service_requests_total{endpoint="/notifications/{id}/read",method="POST",status="2xx"}`,
			`notification_service_request_duration_seconds_count{endpoint="/notifications",method="GET"}`,
			`notification_service_stream_lag{consumer="notification-service"} 0`, `notification_service_stream_pending{consumer="notification-service-mail"} 0`, `notification_service_dead_letters{consumer="notification-service-users"} 0`,
			"postgres_pool_acquired_connections", "redis_command_duration_seconds_count", "service_live 1",
		)
	})

	faults(t, s, postgres, stream, p)

	t.Run("logs contain no user and no notification", func(t *testing.T) {
		user := uuid.NewString()
		p.publish(newEvent(user))
		arrives(t, s.HTTP, user, 1)
		logs := regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(s.Logs(), "") // a second may be 12.50
		for _, private := range []string{user, "12.50", "Order received"} {
			if strings.Contains(logs, private) {
				t.Errorf("the log contains %q", private)
			}
		}
	})
}

func TestHangingReceiverDoesNotDelayTheInbox(t *testing.T) {
	postgres, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	delivered, response := make(chan string, 100), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		delivered <- r.Header.Get("webhook-id")
		select {
		case <-response:
		case <-r.Context().Done():
		}
	}))
	defer receiver.Close()
	env := servicetest.Env(postgres.Env(), stream.Env(name), map[string]string{
		"WEBHOOK_URL": receiver.URL, "WEBHOOK_SECRET": strings.Repeat("s", 32),
	})
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	servicetest.CountersBeginAtZero(t, s.Ops)
	p := newPublisher(t, stream)
	user := uuid.NewString()
	p.publish(newEvent(user))
	if id := <-delivered; id != inbox(t, s.HTTP, user, "").Notifications[0].ID {
		t.Errorf("the receiver gets %s, which isn't in the inbox", id)
	}
	for range 30 {
		p.publish(newEvent(user))
	}
	arrives(t, s.HTTP, user, 31)
	if body := servicetest.Call(t, "GET", s.Ops+"/metrics", "").Body; !strings.Contains(body, `outcome="delivered"} 0`) {
		t.Error("a delivery counts although the receiver has not responded")
	}
	close(response)
	backingtest.Eventually(t, deadline, func() error {
		body := servicetest.Call(t, "GET", s.Ops+"/metrics", "").Body
		if !strings.Contains(body, `notification_service_webhook_deliveries_total{outcome="delivered"} 31`) ||
			!strings.Contains(body, "notification_service_webhook_pending 0") {
			return fmt.Errorf("not all is delivered")
		}
		return nil
	})
}

func TestInvalidConfigurationIsReportedAtOnce(t *testing.T) {
	_, err := servicetest.Run(commands(), map[string]string{
		"POSTGRES_PORT": "many", "LIVE_URL": "name", "WEBHOOK_SECRET": "short",
	})
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"POSTGRES_HOST", "POSTGRES_PORT", "STREAM_ADDR", "STREAM_PASSWORD", "LIVE_URL", "WEBHOOK_URL", "WEBHOOK_SECRET"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}
