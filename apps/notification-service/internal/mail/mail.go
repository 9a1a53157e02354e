// Package mail sends emails about accounts. They contain none of the user's input except the address, so nobody
// can send their own text through a sign-up.
package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"

	"platform.example/apps/internal/config"
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
func Types() []event.Type { return slices.Collect(maps.Keys(texts)) }

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
			return func(context.Context, postgres.DB) error { return nil }, err
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
		return func(ctx context.Context, _ postgres.DB) error { return send(ctx, m) }, err
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

// sendTimeout limits the sending of an email.
const sendTimeout = 20 * time.Second

// Config states how emails are sent.
type Config struct {
	Server   *url.URL      // smtp://user@host:587 with STARTTLS, or smtps://user@host:465; nil means that nothing is sent
	Password config.Secret // empty means no authentication
	From     string        // an email address
	Page     *url.URL      // the target of links; nil means that emails contain codes
	Sink     bool          // keep emails in memory instead of sending them, on a local platform
}

// ReadConfig reads a Config from SMTP_SERVER, SMTP_PASSWORD, MAIL_FROM, ACCOUNT_PAGE and ENVIRONMENT.
func ReadConfig(e *config.Env) Config {
	c := Config{
		Server:   config.ParsedOr(e, "SMTP_SERVER", nil, server),
		Password: config.ParsedOr(e, "SMTP_PASSWORD", config.Secret{}, config.SecretText),
		Page:     config.ParsedOr(e, "ACCOUNT_PAGE", nil, config.HTTPURL),
		Sink:     config.ParsedOr(e, "ENVIRONMENT", "", config.String) == "local",
	}
	if c.Server != nil {
		c.From = config.Parsed(e, "MAIL_FROM", config.String)
	}
	return c
}

func server(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" || u.Port() == "" || u.Path+u.RawQuery != "" {
		return nil, errors.New("must be an address such as smtp://user@smtp.example.com:587, or smtps://user@smtp.example.com:465")
	}
	if _, hasPassword := u.User.Password(); hasPassword {
		return nil, errors.New("contains a password: set SMTP_PASSWORD instead")
	}
	return u, nil
}

// NewSMTP returns a Sender that uses the mail server. It requires TLS. It drops an email to an address that
// doesn't exist, which is a mistake of the user.
func NewSMTP(c Config, log *slog.Logger) (Sender, error) {
	port, err := strconv.Atoi(c.Server.Port())
	if err != nil {
		return nil, fmt.Errorf("the port of the mail server: %w", err)
	}
	options := []gomail.Option{
		gomail.WithPort(port), gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithTimeout(sendTimeout / 2),
		gomail.WithUsername(c.Server.User.Username()), gomail.WithPassword(c.Password.Reveal()),
	}
	if c.Server.Scheme == "smtps" {
		options = append(options, gomail.WithSSL())
	}
	if c.Password.Reveal() != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover))
	}
	client, err := gomail.NewClient(c.Server.Hostname(), options...)
	if err != nil {
		return nil, fmt.Errorf("the mail server: %w", err)
	}
	return func(ctx context.Context, m Mail) error {
		message := gomail.NewMsg()
		if err := message.From(c.From); err != nil {
			return fmt.Errorf("MAIL_FROM: %w", err)
		}
		if message.To(m.To) != nil { // the error contains the address
			log.WarnContext(ctx, "an email is dropped: its address is invalid")
			return nil
		}
		message.Subject(m.Subject)
		message.SetDateWithValue(m.At)
		message.SetBodyString(gomail.TypeTextPlain, m.Body)
		// A stopping replica finishes sending the email; otherwise it would be sent twice.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
		defer cancel()
		err := client.DialAndSendWithContext(ctx, message)
		failed, _ := errors.AsType[*gomail.SendError](err)
		switch {
		case err == nil || message.IsDelivered(): // an error after the delivery doesn't matter
			return nil
		case failed == nil:
			return fmt.Errorf("the mail server: %w", err)
		case failed.ErrorCode() == 0:
			return errors.New("the mail server has ended the connection") // the cause contains the address
		case failed.Reason == gomail.ErrSMTPRcptTo && failed.ErrorCode() >= 500:
			log.WarnContext(ctx, "an email is dropped: the mail server refuses its address", "status", failed.ErrorCode())
			return nil
		}
		return consumer.Refusal{Cause: fmt.Errorf("the mail server responds with %d", failed.ErrorCode())}
	}, nil
}
