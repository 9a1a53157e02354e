// Package store stores users in Postgres.
package store

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/net/idna"

	"platform.example/apps/internal/etag"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/user"
)

// Users is the table of users.
type Users struct{ pool *pgxpool.Pool }

// New returns the users in the database of pool.
func New(pool *pgxpool.Pool) *Users { return &Users{pool: pool} }

// columns lists the columns in the order of the fields of user.User.
const columns = "id, email, name, role, created_at, updated_at, version, coalesce(confirmed_email = email, false) AS email_confirmed"

// Create adds a user, with the external identity if the draft has one, and records it. Without an external
// identity, whose provider has verified the email, it sends a link to confirm the email. It fails with
// problem.Conflict if the email or the identity is taken. passwordHash "" means a user without a password.
func (s *Users) Create(ctx context.Context, d user.Draft, passwordHash string, entry audit.Entry) (u user.User, err error) {
	id, external := uuid.Must(uuid.NewV7()), d.Issuer != ""
	recorded, more := entry.Statement("changed", "id", "NULL", 8)
	err = s.transaction(ctx, "creating a user", func(tx pgx.Tx) error {
		if u, err = queryUser(ctx, tx, `WITH changed AS (
				INSERT INTO users (id, email, name, role, password_hash, confirmed_email)
				VALUES ($1, $2, $3, $4, $5, CASE WHEN $8 THEN $2 END) RETURNING `+columns+`
			), linked AS (
				INSERT INTO external_identities (issuer, subject, user_id) SELECT $6, $7, id FROM changed WHERE $8
			), recorded AS (`+recorded+`)
			SELECT * FROM changed`,
			append([]any{id, d.Email, d.Name, d.Role, passwordHash, d.Issuer, d.Subject, external}, more...)...); err != nil || external {
			return err
		}
		if err := sendLink(ctx, tx, id, Confirm, u.Email); !errors.Is(err, errEmails) {
			return err
		}
		return nil // the user can request a link later
	})
	return u, err
}

// Get returns a user. It fails with problem.NotFound if the user doesn't exist.
func (s *Users) Get(ctx context.Context, id uuid.UUID) (user.User, error) {
	u, err := queryUser(ctx, s.pool, "SELECT "+columns+" FROM users WHERE id = $1", id)
	return u, failure("reading a user", err)
}

// List returns up to limit users created after the given one (uuid.Nil: from the first), in the order of
// their creation.
func (s *Users) List(ctx context.Context, after uuid.UUID, limit int) ([]user.User, error) {
	rows, _ := s.pool.Query(ctx, "SELECT "+columns+" FROM users WHERE id > $1 ORDER BY id LIMIT $2", after, limit) // CollectRows returns the error
	users, err := pgx.CollectRows(rows, pgx.RowToStructByPos[user.User])
	return users, failure("listing users", err)
}

// endSessions ends the sessions of the users in the relation changed.
const endSessions = `UPDATE sessions SET revoked_at = now(), address = '', user_agent = ''
	WHERE user_id IN (SELECT id FROM changed) AND revoked_at IS NULL`

// Update changes a user and records it if a value differs. passwordHash "" keeps the password. It fails with
// problem.NotFound if the user doesn't exist, with problem.PreconditionFailed or problem.Forbidden if c.Guard
// doesn't allow it, and with problem.Conflict if the email is taken.
//
// A new password or role ends the user's sessions: their tokens carry the old role, or may belong to someone
// with the old password. For a new email, Update sends a link to confirm it to the new address and a
// notification to the current one. A new password, or a change back to the current email, deletes earlier links.
func (s *Users) Update(ctx context.Context, id uuid.UUID, c user.Change, passwordHash string, entry audit.Entry) (u user.User, err error) {
	const differing = `changed JOIN former USING (id)
		WHERE (changed.name, changed.role) IS DISTINCT FROM (former.name, former.role) OR $4 <> '' OR $5`
	recorded, more := entry.Statement(differing, "id", "NULL", 6)
	err = s.transaction(ctx, "changing a user", func(tx pgx.Tx) error {
		if u, err = lock(ctx, tx, id, c.Guard); err != nil {
			return err
		}
		emailChanges := c.Email != nil && string(*c.Email) != u.Email
		emailStays := c.Email != nil && !emailChanges // deletes the links to another email
		// A separate statement after the lock sees all sessions that were started before.
		u, err = queryUser(ctx, tx, `WITH former AS (
				SELECT id, name, role FROM users WHERE id = $1
			), changed AS (
				UPDATE users SET
					name = coalesce($2, name), role = coalesce($3, role), password_hash = coalesce(nullif($4, ''), password_hash),
					updated_at = now(), version = version + 1
				WHERE id = $1 RETURNING `+columns+`
			), ended AS (`+endSessions+`
				AND ($3::text IS NOT NULL OR $4 <> '')
			), unused AS (
				DELETE FROM links WHERE user_id = $1 AND ($4 <> '' OR $6)
			), recorded AS (`+recorded+`)
			SELECT * FROM changed`,
			append([]any{id, c.Name, c.Role, passwordHash, emailChanges, emailStays}, more...)...)
		if err == nil && emailChanges { // after the deletion of links
			err = changeEmail(ctx, tx, u, string(*c.Email))
		}
		if err != nil || passwordHash == "" {
			return err
		}
		return notify(ctx, tx, event.PasswordChanged, u)
	})
	return u, err
}

// changeEmail sends a link to the new email of a user, and a notification to the current one.
func changeEmail(ctx context.Context, tx pgx.Tx, u user.User, email string) error {
	var taken bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users WHERE lower(email COLLATE "C") = lower($1 COLLATE "C") AND id <> $2)`, email, u.ID).Scan(&taken)
	if err == nil && taken {
		err = errTaken
	}
	if err != nil {
		return err
	}
	if err := sendLink(ctx, tx, u.ID, Confirm, email); err != nil {
		return err
	}
	return notify(ctx, tx, event.EmailChangeRequested, u)
}

// Delete deletes a user and ends the user's sessions; a database trigger writes the event. It fails with
// problem.NotFound if the user doesn't exist, and like Update if guard doesn't allow it.
func (s *Users) Delete(ctx context.Context, id uuid.UUID, guard user.Guard, entry audit.Entry) error {
	recorded, more := entry.Statement("changed", "id", "NULL", 1)
	return s.transaction(ctx, "deleting a user", func(tx pgx.Tx) error {
		if _, err := lock(ctx, tx, id, guard); err != nil {
			return err
		}
		_, err := queryUser(ctx, tx, `WITH changed AS (
				DELETE FROM users WHERE id = $1 RETURNING `+columns+`
			), ended AS (`+endSessions+`
			), recorded AS (`+recorded+`)
			SELECT * FROM changed`, append([]any{id}, more...)...)
		return err
	})
}

// Credentials are the data that a sign-in is checked against.
type Credentials struct {
	ID           uuid.UUID
	PasswordHash string // "" if the user doesn't exist
}

// Credentials returns the credentials for an email, ignoring the case of ASCII letters. Previous releases
// stored the domain unchanged, so it also finds a domain in Unicode. An unknown email is no error: callers
// treat both cases alike.
func (s *Users) Credentials(ctx context.Context, email string) (Credentials, error) {
	if strings.ContainsRune(email, 0) { // Postgres doesn't accept it
		return Credentials{}, nil
	}
	local, domain, _ := strings.Cut(email, "@")
	unicode, err := idna.ToUnicode(domain)
	if err != nil { // the other spelling of an ASCII domain: the limits of sign-ins count it as another account
		unicode = domain
	}
	return s.credentials(ctx, `SELECT id, password_hash FROM users
		WHERE lower(email COLLATE "C") IN (lower($1 COLLATE "C"), lower($2 COLLATE "C"))
		ORDER BY lower(email COLLATE "C") = lower($1 COLLATE "C") DESC LIMIT 1`, email, local+"@"+unicode)
}

// External returns the credentials of the user with an external identity. An unknown identity is no error.
func (s *Users) External(ctx context.Context, issuer, subject string) (Credentials, error) {
	return s.credentials(ctx, `SELECT id, password_hash FROM users JOIN external_identities ON user_id = id
		WHERE issuer = $1 AND subject = $2`, issuer, subject)
}

// CredentialsOf returns the credentials of a user. An unknown user is no error.
func (s *Users) CredentialsOf(ctx context.Context, id uuid.UUID) (Credentials, error) {
	return s.credentials(ctx, "SELECT id, password_hash FROM users WHERE id = $1", id)
}

func (s *Users) credentials(ctx context.Context, sql string, args ...any) (c Credentials, err error) {
	if err = s.pool.QueryRow(ctx, sql, args...).Scan(&c.ID, &c.PasswordHash); errors.Is(err, pgx.ErrNoRows) {
		return Credentials{}, nil
	}
	return c, failure("reading credentials", err)
}

func queryUser(ctx context.Context, from postgres.DB, sql string, args ...any) (user.User, error) {
	rows, _ := from.Query(ctx, sql, args...) // CollectExactlyOneRow returns the error
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[user.User])
}

// lock locks a user until tx ends. It fails with problem.PreconditionFailed if the user's version isn't one
// of the guard's, and with problem.Forbidden if the caller's password or role was changed after it was checked.
func lock(ctx context.Context, tx pgx.Tx, id uuid.UUID, guard user.Guard) (user.User, error) {
	u, err := queryUser(ctx, tx, "SELECT "+columns+" FROM users WHERE id = $1 FOR UPDATE", id)
	if err == nil && guard.Versions != nil && !slices.Contains(guard.Versions, u.Version) {
		err = etag.Failed()
	}
	if err == nil && guard.Caller != uuid.Nil {
		var holds bool
		err = tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM users WHERE id = $1 AND password_hash = $2 AND role = $3)",
			guard.Caller, guard.PasswordHash, guard.Role).Scan(&holds)
		if err == nil && !holds {
			err = problem.New(problem.Forbidden, "Your password or role was changed in the meantime.", nil)
		}
	}
	return u, err
}

// transaction runs do in a transaction. Its errors are those of failure.
func (s *Users) transaction(ctx context.Context, doing string, do func(pgx.Tx) error) error {
	return failure(doing, pgx.BeginFunc(ctx, s.pool, do))
}

const uniqueViolation = "23505" // SQLSTATE, PostgreSQL manual, appendix A

var errTaken = problem.New(problem.Conflict, "This email is already registered.", nil)

func failure(doing string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.New(problem.NotFound, "There is no such user.", err)
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == uniqueViolation {
		return problem.New(problem.Conflict, "This email is already registered.", err)
	}
	return postgres.Failure(doing, err)
}
