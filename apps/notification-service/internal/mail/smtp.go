package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/consumer"
)

// sendLimit is how long sending an email may take.
const sendLimit = 20 * time.Second

// Config says how emails are sent.
type Config struct {
	Server   *url.URL      // smtp://user@host:587 with STARTTLS, or smtps://user@host:465; nil: nothing is sent
	Password config.Secret // empty: without authentication
	From     string        // an email address
	Page     *url.URL      // to which links lead; nil: emails hold codes
	Sink     bool          // emails are kept in memory in place of being sent: on a local platform
}

// ReadConfig reads a Config.
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
	if _, holds := u.User.Password(); holds {
		return nil, errors.New("holds a password, which belongs into SMTP_PASSWORD")
	}
	return u, nil
}

// NewSMTP returns a Sender through the mail server. It sends nothing without TLS.
// An address that doesn't exist is a user's mistake: the email is dropped.
func NewSMTP(c Config, log *slog.Logger) (Sender, error) {
	port, err := strconv.Atoi(c.Server.Port())
	if err != nil {
		return nil, fmt.Errorf("the port of the mail server: %w", err)
	}
	options := []gomail.Option{
		gomail.WithPort(port), gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithTimeout(sendLimit / 2),
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
		if message.To(m.To) != nil { // the error holds the address
			log.WarnContext(ctx, "an email is dropped: nothing can be sent to its address")
			return nil
		}
		message.Subject(m.Subject)
		message.SetDateWithValue(m.At)
		message.SetBodyString(gomail.TypeTextPlain, m.Body)
		// A replica that stops ends what it has begun, or else the email is sent twice.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
		defer cancel()
		err := client.DialAndSendWithContext(ctx, message)
		failed, _ := errors.AsType[*gomail.SendError](err)
		switch {
		case err == nil || message.IsDelivered(): // whatever follows the email
			return nil
		case failed == nil:
			return fmt.Errorf("the mail server: %w", err)
		case failed.ErrorCode() == 0:
			return errors.New("the mail server has ended the connection") // the cause holds the address
		case failed.Reason == gomail.ErrSMTPRcptTo && failed.ErrorCode() >= 500:
			log.WarnContext(ctx, "an email is dropped: the mail server refuses its address", "status", failed.ErrorCode())
			return nil
		}
		return consumer.Refusal{Cause: fmt.Errorf("the mail server answers %d", failed.ErrorCode())}
	}, nil
}
