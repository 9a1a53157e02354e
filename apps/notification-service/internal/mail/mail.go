// Package mail sends emails about accounts. Their texts hold nothing that a user
// has chosen, but for the address and the link: a stranger's sign-up must not
// put words into our mail.
package mail

import (
	"context"
	"errors"
	"net/url"
	"time"

	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
)

// Mail is an email in plain text.
type Mail struct {
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Body    string    `json:"body"`
	At      time.Time `json:"at"` // when it happened
}

// Sender sends an email. It fails with a consumer.Refusal where the mail server
// doesn't take this one now.
type Sender func(context.Context, Mail) error

// text is the email of a type of event. Its body ends in the link, where the event has one.
type text struct {
	subject, body string
	link          string        // the name of the secret in the link; empty for an email without one
	life          time.Duration // for which the email is of use: that of the link, as user-service has it
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

// Types are the types of events that are sent by email.
func Types() []event.Type {
	return []event.Type{event.EmailToConfirm, event.PasswordResetRequested, event.EmailChangeRequested, event.PasswordChanged}
}

// Handle returns what handles events of Types: it sends the email of each. A
// link leads to page with the secret in its fragment, which browsers send to no
// server; without a page, the email holds the secret as a code.
func Handle(send Sender, page *url.URL) func(event.Event) (consumer.Effect, error) {
	return func(e event.Event) (consumer.Effect, error) {
		user, err := event.Data[event.User](e)
		if err == nil && user.Email == "" {
			err = errors.New("the event has no email")
		}
		t := texts[e.Type]
		if time.Since(e.OccurredAt) > t.life || t.link != "" && user.Secret == "" { // it was published before
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
