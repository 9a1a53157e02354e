package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/outbox"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/user"
)

// Purpose is the purpose of a link.
type Purpose string

// The purposes of links. A link is valid once, and only for the email that it was sent to.
const (
	Confirm Purpose = "confirm"
	Reset   Purpose = "reset"
)

const (
	// confirmLife and resetLife are how long links are valid. notification-service doesn't send expired
	// links.
	confirmLife, resetLife = 24 * time.Hour, time.Hour
	// emailsPerHour limits the links to an address, from all clients together, and the notifications of each type.
	emailsPerHour = 5
)

// Outbox is the outbox with the events of users.
var Outbox = outbox.Outbox{
	Service: "user-service", Stream: event.Users, Table: "outbox", Subject: "user_id",
	Groups: []string{"order-service", "notification-service-users"},
}

// Mails is the outbox with the emails to users.
var Mails = outbox.Outbox{
	Service: "user-service", Stream: event.Mails, Table: "mails", Subject: "user_id", Groups: []string{"notification-service-mail"},
}

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

var errEmails = &problem.Error{Code: problem.TooManyRequests, Sentence: "Too many emails were sent to this address: try again in an hour.", RetryAfter: time.Hour}

// sendMail queues an email to a user, and the statements of more. It fails with errEmails if the address has
// received too many.
func sendMail(ctx context.Context, tx pgx.Tx, eventType event.Type, data event.User, more ...func(*pgx.Batch)) error {
	recent, limited := 0, strings.ToLower(data.Email)
	if data.Secret == "" { // anyone can request links, and must not suppress a notification
		limited += " " + string(eventType)
	}
	err := tx.QueryRow(ctx, `WITH sent AS (INSERT INTO emails_sent (email_hash) VALUES ($1))
		SELECT count(*) FROM emails_sent WHERE email_hash = $1 AND at > now() - interval '1 hour'`, hash(limited)).Scan(&recent)
	if err != nil {
		return err
	}
	if recent >= emailsPerHour {
		return errEmails
	}
	var batch pgx.Batch
	for _, queue := range more {
		queue(&batch)
	}
	Mails.Add(ctx, &batch, eventType, time.Now(), data.ID, data)
	return tx.SendBatch(ctx, &batch).Close()
}

// notify queues a notification to the confirmed email of a user. It does nothing if there is none, or if it has
// received too many of this type.
func notify(ctx context.Context, tx pgx.Tx, eventType event.Type, u user.User) error {
	if !u.EmailConfirmed {
		return nil
	}
	err := sendMail(ctx, tx, eventType, event.User{ID: u.ID, Email: u.Email})
	if errors.Is(err, errEmails) {
		return nil
	}
	return err
}

// sendLink sends a link to an email of a user whom tx has locked. It deletes links for the same purpose that
// were sent to another email.
func sendLink(ctx context.Context, tx pgx.Tx, id uuid.UUID, purpose Purpose, email string) error {
	secret, life, eventType := rand.Text(), confirmLife, event.EmailToConfirm
	if purpose == Reset {
		life, eventType = resetLife, event.PasswordResetRequested
	}
	return sendMail(ctx, tx, eventType, event.User{ID: id, Email: email, Secret: secret}, func(batch *pgx.Batch) {
		batch.Queue("DELETE FROM links WHERE user_id = $1 AND purpose = $2 AND email <> $3", id, purpose, email)
		batch.Queue("INSERT INTO links (secret_hash, user_id, purpose, email, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)",
			hash(secret), id, purpose, email, life)
	})
}

// ErrLink is the error for an invalid, used or expired link.
var ErrLink = problem.New(problem.Invalid, "The link is not valid, was used or has expired: request another one.", nil)

// useLink deletes a link and locks its user. It returns the email that the link was sent to.
func useLink(ctx context.Context, tx pgx.Tx, secret string, purpose Purpose) (u user.User, email string, err error) {
	u, err = queryUser(ctx, tx, "SELECT "+columns+" FROM users WHERE id = (SELECT user_id FROM links WHERE secret_hash = $1) FOR UPDATE", hash(secret))
	if err == nil {
		err = tx.QueryRow(ctx, "DELETE FROM links WHERE secret_hash = $1 AND purpose = $2 AND expires_at > now() RETURNING email",
			hash(secret), purpose).Scan(&email)
	}
	if errors.Is(err, pgx.ErrNoRows) || err == nil && purpose == Reset && email != u.Email { // the email has changed since
		err = ErrLink
	}
	return u, email, err
}

// SendLink sends a link to a user. It fails with problem.Conflict if the email to confirm is confirmed.
func (s *Users) SendLink(ctx context.Context, id uuid.UUID, purpose Purpose, entry audit.Entry) error {
	return s.transaction(ctx, "sending a link", func(tx pgx.Tx) error {
		u, err := lock(ctx, tx, id, user.Guard{})
		if err == nil && purpose == Confirm && u.EmailConfirmed {
			err = problem.New(problem.Conflict, "This email is confirmed.", nil)
		}
		if err != nil {
			return err
		}
		recorded, more := entry.Statement("users WHERE id = $1", "id", "NULL", 1)
		if _, err := tx.Exec(ctx, recorded, append([]any{id}, more...)...); err != nil {
			return err
		}
		return sendLink(ctx, tx, id, purpose, u.Email)
	})
}

// SendReset sends a link that resets the password of the user with that email. It does nothing if there is no
// such user or too many emails were sent.
func (s *Users) SendReset(ctx context.Context, email string, entry audit.Entry) error {
	known, err := s.Credentials(ctx, email)
	if err != nil || known.ID == uuid.Nil {
		return err
	}
	err = s.SendLink(ctx, known.ID, Reset, entry)
	if refused, ok := errors.AsType[*problem.Error](err); ok && (refused.Code == problem.TooManyRequests || refused.Code == problem.NotFound) {
		return nil // an error would reveal whether the user exists
	}
	return err
}

// HasLink reports whether a link is valid.
func (s *Users) HasLink(ctx context.Context, secret string, purpose Purpose) (has bool, err error) {
	err = s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM links WHERE secret_hash = $1 AND purpose = $2 AND expires_at > now())",
		hash(secret), purpose).Scan(&has)
	return has, failure("reading a link", err)
}

// UseLink sets the user's email to the one that a link was sent to, and confirms it. It deletes the user's links. With
// passwordHash it also sets the password, ends the user's sessions and notifies the user. It fails with problem.Invalid
// if the link isn't valid, and with problem.Conflict if another user has the email.
func (s *Users) UseLink(ctx context.Context, purpose Purpose, secret, passwordHash string, entry audit.Entry) (u user.User, err error) {
	err = s.transaction(ctx, "using a link", func(tx pgx.Tx) error {
		former, email, err := useLink(ctx, tx, secret, purpose)
		if err != nil {
			return err
		}
		recorded, more := entry.By(former.ID).Statement("changed", "id", "NULL", 3)
		if u, err = queryUser(ctx, tx, `WITH changed AS (
				UPDATE users SET
					email = $2, confirmed_email = $2, password_hash = coalesce(nullif($3, ''), password_hash),
					updated_at = now(), version = version + 1
				WHERE id = $1 RETURNING `+columns+`
			), ended AS (`+endSessions+` AND $3 <> ''
			), used AS (
				DELETE FROM links WHERE user_id = $1
			), recorded AS (`+recorded+`)
			SELECT * FROM changed`, append([]any{former.ID, email, passwordHash}, more...)...); err != nil || passwordHash == "" {
			return err
		}
		return notify(ctx, tx, event.PasswordChanged, u)
	})
	return u, err
}

// Forget deletes expired links and records of emails older than an hour.
func (s *Users) Forget(ctx context.Context) error {
	return errors.Join(postgres.DeleteOld(ctx, s.pool, "links", "secret_hash", "expires_at", 0),
		postgres.DeleteOld(ctx, s.pool, "emails_sent", "id", "at", time.Hour))
}
