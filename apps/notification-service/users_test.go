package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/servicetest"
	"platform.example/apps/notification-service/internal/mail"
	"platform.example/apps/notification-service/internal/store"
)

func TestEventsOfUsers(t *testing.T) {
	database, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	env := servicetest.Env(database.Env(), stream.Env(name), map[string]string{"ENVIRONMENT": "local", "ACCOUNT_PAGE": "https://app.example.com/account"})
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	p := newPublisher(t, stream)
	mails := func(t *testing.T, want int) (sent []mail.Mail) {
		t.Helper()
		backingtest.Eventually(t, deadline, func() error {
			sent = servicetest.JSON[[]mail.Mail](t, servicetest.Call(t, "GET", s.Ops+"/mails", ""))
			if len(sent) != want {
				return fmt.Errorf("%d emails, want %d", len(sent), want)
			}
			return nil
		})
		return sent
	}

	t.Run("the inbox of a deleted user is deleted, and stays empty", func(t *testing.T) {
		user, other := uuid.NewString(), uuid.NewString()
		p.publish(newEvent(user), newEvent(user), newEvent(other))
		arrives(t, s.HTTP, user, 2)
		p.publish(eventOf(event.UserDeleted, event.User{ID: uuid.MustParse(user)}))
		arrives(t, s.HTTP, user, 0)
		p.publish(newEvent(user), newEvent(uuid.Nil.String()), newEvent(other)) // one is late, one of an order that has lost its user
		arrives(t, s.HTTP, other, 2)
		arrives(t, s.HTTP, user, 0)
		var nobodys int
		if err := database.Connect().QueryRow(t.Context(), "SELECT count(*) FROM notifications WHERE user_id = $1", uuid.Nil).Scan(&nobodys); err != nil || nobodys != 0 {
			t.Errorf("%d notifications have no user, %v", nobodys, err)
		}
	})

	t.Run("emails are sent once, with their link", func(t *testing.T) {
		const email, secret = "a@example.com", "ONETIMESECRET"
		user := event.User{ID: uuid.New(), Email: email}
		withLink := user
		withLink.Secret = secret
		late := eventOf(event.PasswordResetRequested, withLink)
		late.OccurredAt = time.Now().Add(-2 * time.Hour)
		confirm := eventOf(event.EmailToConfirm, withLink)
		p.publish(confirm, late, eventOf(event.PasswordResetRequested, user), confirm, // the last three are not sent
			eventOf(event.PasswordChanged, user), eventOf(event.EmailChangeRequested, user), eventOf(event.PasswordResetRequested, withLink))
		sent := mails(t, 4)
		for i, want := range []string{"#confirm=" + secret, "", "", "#reset=" + secret} {
			link := "https://app.example.com/account" + want
			if sent[i].To != email || sent[i].Subject == "" || strings.Contains(sent[i].Body, link+"\n") != (want != "") || strings.Contains(sent[i].Body, secret) != (want != "") {
				t.Errorf("got %+v", sent[i])
			}
		}
		if strings.Contains(s.Logs(), secret) || strings.Contains(s.Logs(), email) {
			t.Error("the log contains a secret or an email")
		}
	})

	t.Run("the public port shows no email", func(t *testing.T) {
		if a := servicetest.Call(t, "GET", s.HTTP+"/mails", "", as(uuid.NewString())); a.Status != http.StatusNotFound {
			t.Errorf("got %+v", a)
		}
	})

	t.Run("old data is deleted", func(t *testing.T) {
		user := uuid.NewString()
		p.publish(newEvent(user), newEvent(user), newEvent(user))
		arrives(t, s.HTTP, user, 3)
		db := database.Connect()
		for _, statement := range []string{
			`UPDATE notifications SET created_at = now() - interval '181 days' WHERE id = (SELECT max(id::text)::uuid FROM notifications WHERE user_id = $1)`,
			`INSERT INTO webhook_deliveries (notification_id, delivered_at, gave_up_at)
				SELECT id, CASE WHEN n = 1 THEN now() - interval '31 days' END, CASE WHEN n = 2 THEN now() - interval '29 days' END
				FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM notifications WHERE user_id = $1) AS numbered`,
		} {
			if _, err := db.Exec(t.Context(), statement, user); err != nil {
				t.Fatal(err)
			}
		}
		at := postgres.ReadConfig(config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok }))
		pool, err := postgres.Connect(t.Context(), at, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		if err := store.New(pool).Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var notifications, deliveries int
		if err := db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM notifications WHERE user_id = $1), (SELECT count(*) FROM webhook_deliveries)`, user).
			Scan(&notifications, &deliveries); err != nil || notifications != 2 || deliveries != 1 {
			t.Errorf("%d notifications and %d deliveries are left, want 2 and 1: %v", notifications, deliveries, err)
		}
	})
}
