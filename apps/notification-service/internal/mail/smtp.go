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
