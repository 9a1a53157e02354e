// Package mail sends emails about accounts. Of the user's input, they contain only the address and the link:
// nobody can send their own text through a sign-up.
package mail

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/postgres"
)

// Mail is an email in plain text.
type Mail struct {
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Body    string    `json:"body"`
	At      time.Time `json:"at"` // of the event
}

// Sender sends an email. It fails with a consumer.Refusal if the mail server refuses this email for now.
type Sender func(context.Context, Mail) error

// text is the email of a type of event. The link, if any, follows the body.
type text struct {
	subject, body string
	link          string        // the name of the secret in the link; empty for an email without a link
	life          time.Duration // how long the email is useful: the validity of the link in user-service
}

var texts = map[event.Type]text{
	event.EmailToConfirm: {"Confirm your email address",
		"Confirm that this is your email address. If you have not signed up or changed your address, ignore this email.", "confirm", 24 * time.Hour},
	event.PasswordResetRequested: {"Reset your password",
		"Choose a new password within an hour. If you have not asked for this, ignore this email: your password stays as it is.", "reset", time.Hour},
	event.EmailChangeRequested: {"Your email address is about to change",
		"A change of the email address of your account was requested. It takes effect once the new address is confirmed. " +
			"If this was not you, change your password.", "", 24 * time.Hour},
	event.PasswordChanged: {"Your password has changed",
		"The password of your account was changed, and all sessions have ended. If this was not you, reset your password.", "", 24 * time.Hour},
}

// Types returns the types of events that are sent by email.
func Types() []event.Type {
	return []event.Type{event.EmailToConfirm, event.PasswordResetRequested, event.EmailChangeRequested, event.PasswordChanged}
}

// Handle returns a handler of events of Types that sends their emails. A link leads to page with the secret
// in the fragment, which browsers don't send to servers. Without page, the email contains the secret as a
// code.
func Handle(send Sender, page *url.URL) func(event.Event) (consumer.Effect, error) {
	return func(e event.Event) (consumer.Effect, error) {
		user, err := event.Data[event.User](e)
		if err == nil && user.Email == "" {
			err = errors.New("the event has no email")
		}
		t := texts[e.Type]
		if time.Since(e.OccurredAt) > t.life || t.link != "" && user.Secret == "" { // late, or a replay without the secret
			return func(context.Context, postgres.Execer) error { return nil }, err
		}
		m := Mail{To: user.Email, Subject: t.subject, Body: t.body + "\n", At: e.OccurredAt}
		switch {
		case t.link == "":
		case page == nil:
			m.Body += "\nYour code: " + user.Secret + "\n"
		default:
			to := *page
			to.Fragment = t.link + "=" + user.Secret
			m.Body += "\n" + to.String() + "\n"
		}
		return func(ctx context.Context, _ postgres.Execer) error { return send(ctx, m) }, err
	}
}

// kept is the maximum number of emails in a Sink.
const kept = 100

// Sink keeps the latest emails in memory if there is no mail server.
type Sink struct {
	mu    sync.Mutex
	mails []Mail
}

// Send implements Sender.
func (s *Sink) Send(_ context.Context, m Mail) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	s.mails = s.mails[max(0, len(s.mails)-kept):]
	return nil
}

// ServeHTTP sends the emails as JSON, newest last.
func (s *Sink) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	mails := append([]Mail{}, s.mails...)
	s.mu.Unlock()
	_ = httpjson.Write(w, http.StatusOK, mails)
}
