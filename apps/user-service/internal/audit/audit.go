// Package audit records changes of accounts and refused attempts: who, what, when and from which address.
package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/requestid"
	"platform.example/apps/internal/resourceid"
)

const (
	// kept is how long entries are kept, including those of deleted users.
	kept = 365 * 24 * time.Hour
	// sessionsKept is how long entries about sessions (a client can create many) and all addresses
	// are kept.
	sessionsKept = 90 * 24 * time.Hour
)

// refusalsPerHour is the maximum number of refusals per hour, account and action. All unknown accounts count as one.
const refusalsPerHour = 10

// maxAgentBytes limits the stored User-Agent of a client.
const maxAgentBytes = 256

// Action is the kind of an entry.
type Action string

// The actions.
const (
	UserCreated   Action = "user.created"
	UserChanged   Action = "user.changed" // the detail contains the fields and a new role, but no other value
	UserDeleted   Action = "user.deleted"
	LinkSent      Action = "link.sent" // on request; the detail contains its purpose
	SessionBegun  Action = "session.begun"
	SessionEnded  Action = "session.ended"
	SessionsEnded Action = "sessions.ended" // all sessions of the user

	SignInRefused   Action = "session.refused"  // a wrong password
	PasswordRefused Action = "password.refused" // a wrong current password
	LinkRefused     Action = "link.refused"     // an invalid, used or expired link; the detail contains its purpose
)

// Entry is one entry of the log.
type Entry struct {
	ID        uuid.UUID  `json:"id"`
	At        time.Time  `json:"at"`
	Actor     *uuid.UUID `json:"actor_id"` // nil: a client that has not signed in, or the operator
	Action    Action     `json:"action"`
	Detail    string     `json:"detail,omitempty"`
	UserID    uuid.UUID  `json:"user_id"` // uuid.Nil: no known account
	SessionID *uuid.UUID `json:"session_id,omitempty"`
	Address   string     `json:"address,omitempty"`    // of the client
	RequestID string     `json:"request_id,omitempty"` // the client may choose it

	Agent   string `json:"-" db:"-"` // the client's User-Agent; only sessions store it
	IDToken string `json:"-" db:"-"` // hash of the ID token of a sign-in; only sessions store it
}

// Of returns the entry of a request. The identity of the caller comes from the gateway.
func Of(r *http.Request, action Action, details ...string) Entry {
	e := Entry{
		Action: action, Detail: strings.Join(details, ", "), RequestID: requestid.From(r.Context()),
		Address: r.Header.Get("X-Forwarded-For"), Agent: strings.ToValidUTF8(r.UserAgent(), ""),
		IDToken: r.Header.Get("X-Id-Token"),
	}
	if len(e.Agent) > maxAgentBytes {
		e.Agent = strings.ToValidUTF8(e.Agent[:maxAgentBytes], "")
	}
	if id, ok := resourceid.Parse(identity.From(r).UserID); ok {
		e.Actor = &id
	}
	return e
}

// By returns e with user as the actor, for a request by which the user has signed in.
func (e Entry) By(user uuid.UUID) Entry {
	e.Actor = &user
	return e
}

// Statement returns a part of a statement that records e for the first row of relation, and nothing if there
// is no row. user and session are SQL expressions for their ids. The arguments of the part follow n others.
func (e Entry) Statement(relation, user, session string, n int) (sql string, args []any) {
	return fmt.Sprintf(`INSERT INTO audit (id, actor_id, action, detail, address, request_id, user_id, session_id)
		SELECT $%d::uuid, $%d::uuid, $%d, $%d, $%d, $%d, %s, %s::uuid FROM %s LIMIT 1`, n+1, n+2, n+3, n+4, n+5, n+6, user, session, relation),
		[]any{uuid.Must(uuid.NewV7()), e.Actor, e.Action, e.Detail, e.Address, e.RequestID}
}

// Log is the table of entries.
type Log struct{ pool *pgxpool.Pool }

// New returns the log in the database of pool.
func New(pool *pgxpool.Pool) *Log { return &Log{pool} }

// Refused records the refusal e for the account of user; uuid.Nil means no known account. It keeps the newest
// refusalsPerHour refusals of an hour, so that clients can't fill the table. It writes the same amount for an
// unknown account, so that response times reveal no account.
func (l *Log) Refused(ctx context.Context, e Entry, user uuid.UUID) error {
	recorded, args := e.Statement("(VALUES (1)) AS once", "$1::uuid", "NULL", 2)
	_, err := l.pool.Exec(ctx, `WITH superseded AS (DELETE FROM audit WHERE id IN (SELECT id FROM audit
			WHERE user_id = $1 AND action = $5 AND action LIKE '%refused' AND at > now() - interval '1 hour' ORDER BY at DESC OFFSET $2)
		) `+recorded, append([]any{user, refusalsPerHour - 1}, args...)...)
	return postgres.Failure("recording a refusal", err)
}

// List returns up to limit entries before the given one (uuid.Max: from the newest), newest first, of one
// user, or of all users (uuid.Nil).
func (l *Log) List(ctx context.Context, user, before uuid.UUID, limit int) ([]Entry, error) {
	condition, args := "", []any{before, limit}
	if user != uuid.Nil { // a separate statement, so that its plan uses the index of users
		condition, args = "AND user_id = $3", append(args, user)
	}
	rows, _ := l.pool.Query(ctx, `SELECT id, at, actor_id, action, detail, user_id, session_id, address, request_id FROM audit
		WHERE id < $1 `+condition+` ORDER BY id DESC LIMIT $2`, args...)
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Entry]) // returns the error of the query, too
	return entries, postgres.Failure("reading the audit log", err)
}

// Sweep deletes expired entries and addresses.
func (l *Log) Sweep(ctx context.Context) error {
	return errors.Join(postgres.DeleteOld(ctx, l.pool, "audit", "id", "at", kept),
		postgres.DeleteInBatches(ctx, l.pool, "deleting old sessions from the audit log", `DELETE FROM audit WHERE id IN (
			SELECT id FROM audit WHERE at < $1 AND action LIKE 'session%' ORDER BY at LIMIT $2)`, time.Now().Add(-sessionsKept)),
		postgres.DeleteInBatches(ctx, l.pool, "forgetting old addresses", `UPDATE audit SET address = '' WHERE id IN (
			SELECT id FROM audit WHERE at < $1 AND address <> '' ORDER BY at LIMIT $2)`, time.Now().Add(-sessionsKept)))
}
