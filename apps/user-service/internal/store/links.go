package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
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

// Purpose is what a link is for.
type Purpose string

// The purposes of links. A link is good once, and only for the email that it was sent to.
const (
	Confirm Purpose = "confirm"
	Reset   Purpose = "reset"
)

const (
	// confirmLife and resetLife are how long links are valid; notification-service sends none that has expired.
	confirmLife, resetLife = 24 * time.Hour, time.Hour
	// linksPerHour bounds the emails that somebody can have sent to others.
	linksPerHour = 5
	// linksKept is how long links are counted.
	linksKept = 24 * time.Hour
)

// Outbox is where the events of users are written.
func Outbox() outbox.Outbox {
	return outbox.Outbox{
		Service: "user-service", Stream: event.Users, Subject: "user_id",
		Groups: []string{"order-service", "notification-service-users", "notification-service-mail"},
	}
}

// tell adds an event about a user that tx has locked.
func tell(ctx context.Context, tx pgx.Tx, what event.Type, data event.User) error {
	var batch pgx.Batch
	if err := Outbox().Add(ctx, &batch, what, time.Now(), data.ID, data); err != nil {
		return err
	}
	return tx.SendBatch(ctx, &batch).Close()
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// send sends a link to an email of a user that tx has locked. Links for the same
// purpose that were sent to another email end.
func send(ctx context.Context, tx pgx.Tx, id uuid.UUID, purpose Purpose, email string) error {
	var recent int
	err := tx.QueryRow(ctx, "SELECT count(*) FROM links WHERE user_id = $1 AND purpose = $2 AND created_at > now() - interval '1 hour'",
		id, purpose).Scan(&recent)
	if err != nil {
		return err
	}
	if recent >= linksPerHour {
		return &problem.Error{Code: problem.TooManyRequests, Sentence: "Too many emails were sent: come again in an hour.", RetryAfter: time.Hour}
	}
	secret, life, what := rand.Text(), confirmLife, event.EmailToConfirm
	if purpose == Reset {
		life, what = resetLife, event.PasswordResetRequested
	}
	var batch pgx.Batch
	batch.Queue("UPDATE links SET expires_at = '-infinity' WHERE user_id = $1 AND purpose = $2 AND email <> $3", id, purpose, email)
	batch.Queue("INSERT INTO links (secret_hash, user_id, purpose, email, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)",
		hash(secret), id, purpose, email, life)
	if err := Outbox().Add(ctx, &batch, what, time.Now(), id, event.User{ID: id, Email: email, Secret: secret}); err != nil {
		return err
	}
	return tx.SendBatch(ctx, &batch).Close()
}

// take uses a link up, locks its user and returns the user's id and the email that the link was sent to.
func take(ctx context.Context, tx pgx.Tx, secret string, purpose Purpose) (id uuid.UUID, email string, err error) {
	_, err = tx.Exec(ctx, "SELECT 1 FROM users WHERE id = (SELECT user_id FROM links WHERE secret_hash = $1) FOR UPDATE", hash(secret))
	if err != nil {
		return uuid.Nil, "", err
	}
	err = tx.QueryRow(ctx, `UPDATE links SET expires_at = '-infinity' WHERE secret_hash = $1 AND purpose = $2 AND expires_at > now()
		RETURNING user_id, email`, hash(secret), purpose).Scan(&id, &email)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrLink
	}
	return id, email, err
}

// ErrLink refuses a link.
var ErrLink = problem.New(problem.Invalid, "The link is not valid, was used or has expired: ask for another one.", nil)

// SendConfirmation sends a link that confirms the user's email.
func (s *Users) SendConfirmation(ctx context.Context, id uuid.UUID) error {
	return s.transaction(ctx, "sending a link", func(tx pgx.Tx) error {
		u, err := lock(ctx, tx, id, nil)
		if err == nil && u.EmailConfirmed {
			err = problem.New(problem.Conflict, "This email is confirmed.", nil)
		}
		if err != nil {
			return err
		}
		return send(ctx, tx, id, Confirm, u.Email)
	})
}

// SendReset sends a link that resets the password of the user with that email, if there is one and few were sent.
func (s *Users) SendReset(ctx context.Context, email string) error {
	known, err := s.Credentials(ctx, email)
	if err != nil || known.ID == uuid.Nil {
		return err
	}
	err = s.transaction(ctx, "sending a link", func(tx pgx.Tx) error {
		u, err := lock(ctx, tx, known.ID, nil)
		if err != nil {
			return err
		}
		return send(ctx, tx, u.ID, Reset, u.Email)
	})
	if refused, ok := errors.AsType[*problem.Error](err); ok && (refused.Code == problem.TooManyRequests || refused.Code == problem.NotFound) {
		return nil // or else the answer reveals who is a user
	}
	return err
}

// ConfirmEmail makes the email that a link was sent to the user's. It fails with
// problem.Invalid where the link isn't valid, and with problem.Conflict where the
// email has been taken by another user.
func (s *Users) ConfirmEmail(ctx context.Context, secret string, entry audit.Entry) (u user.User, err error) {
	err = s.transaction(ctx, "confirming an email", func(tx pgx.Tx) error {
		id, email, err := take(ctx, tx, secret, Confirm)
		if err != nil {
			return err
		}
		recorded, more := entry.By(id).Statement("changed", "id", "NULL", 2)
		u, err = one(ctx, tx, `WITH changed AS (
				UPDATE users SET email = $2, email_confirmed = true, updated_at = now(), version = version + 1 WHERE id = $1 RETURNING `+columns+`
			), ended AS (
				UPDATE links SET expires_at = '-infinity' WHERE user_id = $1 AND email <> $2
			), recorded AS (`+recorded+`)
			SELECT `+columns+` FROM changed`, append([]any{id, email}, more...)...)
		return err
	})
	return u, err
}

// HasLink reports whether a link is valid.
func (s *Users) HasLink(ctx context.Context, secret string, purpose Purpose) (has bool, err error) {
	err = s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM links WHERE secret_hash = $1 AND purpose = $2 AND expires_at > now())",
		hash(secret), purpose).Scan(&has)
	if err != nil {
		return false, failure("reading a link", err)
	}
	return has, nil
}

// ResetPassword sets the password of the user that a link was sent to, and ends the
// user's sessions and links. It fails with problem.Invalid where the link isn't valid.
func (s *Users) ResetPassword(ctx context.Context, secret, passwordHash string, entry audit.Entry) (u user.User, err error) {
	err = s.transaction(ctx, "resetting a password", func(tx pgx.Tx) error {
		id, email, err := take(ctx, tx, secret, Reset)
		if err != nil {
			return err
		}
		recorded, more := entry.By(id).Statement("changed", "id", "NULL", 3)
		if u, err = one(ctx, tx, `WITH changed AS (
				UPDATE users SET password_hash = $2, email_confirmed = email_confirmed OR email = $3, updated_at = now(), version = version + 1
				WHERE id = $1 RETURNING `+columns+`
			), ended AS (`+endSessions+`
			), used AS (
				UPDATE links SET expires_at = '-infinity' WHERE user_id = $1
			), recorded AS (`+recorded+`)
			SELECT `+columns+` FROM changed`, append([]any{id, passwordHash, email}, more...)...); err != nil {
			return err
		}
		return tell(ctx, tx, event.PasswordChanged, event.User{ID: id, Email: u.Email})
	})
	return u, err
}

// ForgetLinks deletes links that no longer count.
func (s *Users) ForgetLinks(ctx context.Context) error {
	return postgres.DeleteInBatches(ctx, s.pool, "deleting old links", `DELETE FROM links WHERE secret_hash IN (
		SELECT secret_hash FROM links WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, time.Now().Add(-linksKept))
}
