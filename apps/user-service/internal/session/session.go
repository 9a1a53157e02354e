// Package session stores the sessions of users. A client extends a session with refresh tokens. Each token is
// valid once and returns its successor.
//
// The token before the newest returns the same successor again during grace, so that a client whose response
// was lost, or that sends several requests at once, keeps its session. After grace, or with an older token, a
// token is in the wrong hands: the session ends for both holders.
package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/audit"
)

const (
	// Life is how long a session lasts, however often it is refreshed.
	Life  = 30 * 24 * time.Hour
	grace = 30 * time.Second
	// listedFor is longer than the 15 min validity of an access token: Revoked lists no sessions that ended
	// earlier.
	listedFor = 20 * time.Minute
	// kept is how long an ended session is kept for investigations.
	kept = 30 * 24 * time.Hour
	// maxPerUser limits the open sessions of a user: a new one ends the oldest.
	maxPerUser = 100
)

// Sessions is the table of sessions.
type Sessions struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	now  func() time.Time
}

// New returns the sessions in the database of pool.
func New(pool *pgxpool.Pool, log *slog.Logger) *Sessions {
	return &Sessions{pool: pool, log: log, now: time.Now}
}

// Session is a new or refreshed session.
type Session struct {
	ID           uuid.UUID     `json:"session_id"`
	UserID       uuid.UUID     `json:"user_id"`
	Role         identity.Role `json:"role"`
	RefreshToken string        `json:"refresh_token"`
	ExpiresIn    int           `json:"refresh_expires_in"` // seconds
}

// Begin starts a session of a user whose password was checked against passwordHash. It ends the user's oldest
// session beyond maxPerUser. It fails with problem.Unauthenticated if passwordHash is no longer the user's: a
// change of the password has ended all sessions. The lock makes a concurrent change wait, and see the new
// session. It also fails if the ID token of the client has started a session before.
func (s *Sessions) Begin(ctx context.Context, user uuid.UUID, passwordHash string, client audit.Entry) (Session, error) {
	id := uuid.Must(uuid.NewV7())
	t := token{id, newSecret()}
	recorded, more := client.By(user).Statement("holder", "id", "$1", 10)
	client.Action, client.Detail = audit.SessionEnded, "too many sessions"
	evicted, evictedMore := client.Statement("ended", "user_id", "id", 10+len(more))
	more = append(more, evictedMore...)
	created := Session{ID: id, UserID: user, RefreshToken: t.String(), ExpiresIn: int(Life.Seconds())}
	err := s.pool.QueryRow(ctx, `WITH holder AS (
			SELECT id, role FROM users WHERE id = $2 AND password_hash = $3 FOR SHARE
		), begun AS (
			INSERT INTO sessions (id, user_id, token_hash, expires_at, address, user_agent, id_token_hash)
			SELECT $1, id, $4, $5, $8, $9, nullif($10, '') FROM holder
		), ended AS (
			UPDATE sessions SET revoked_at = $6, address = '', user_agent = '' WHERE id IN (
				SELECT id FROM sessions WHERE user_id IN (SELECT id FROM holder) AND revoked_at IS NULL
				ORDER BY id DESC OFFSET $7 FOR UPDATE SKIP LOCKED)
			RETURNING id, user_id
		), recorded AS (`+recorded+`
		), evicted AS (`+evicted+`
		) SELECT role FROM holder`, append([]any{id, user, passwordHash, t.hash(), s.now().Add(Life), s.now(), maxPerUser - 1,
		client.Address, client.Agent, client.IDToken}, more...)...).Scan(&created.Role)
	if errors.Is(err, pgx.ErrNoRows) {
		return Session{}, problem.New(problem.Unauthenticated, "Email or password is wrong.", errors.New("the password was changed during the check"))
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.ConstraintName == "sessions_id_token" {
		return Session{}, problem.New(problem.Unauthenticated, "The ID token was used before.", err)
	}
	if err != nil {
		return Session{}, postgres.Failure("starting a session", err)
	}
	return created, nil
}

// Refresh extends the session of a refresh token and returns the next token. It fails with
// problem.Unauthenticated if the token isn't valid.
func (s *Sessions) Refresh(ctx context.Context, raw string, client audit.Entry) (Session, error) {
	t, ok := parse(raw)
	if !ok {
		return Session{}, refused("malformed refresh token")
	}
	var next Session
	var refusal error // returned after the commit of its changes
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		next, refusal, err = s.refresh(ctx, tx, t, client)
		return err
	})
	if err != nil {
		return Session{}, postgres.Failure("refreshing a session", err)
	}
	return next, refusal
}

// row is a row of the table.
type row struct {
	user                    uuid.UUID
	role                    identity.Role
	current, previous, salt []byte
	rotated, revoked        *time.Time
	expires                 time.Time
}

func (s *Sessions) refresh(ctx context.Context, tx pgx.Tx, t token, client audit.Entry) (next Session, refusal, err error) {
	var r row
	err = tx.QueryRow(ctx, `SELECT s.user_id, u.role, s.token_hash, s.previous_hash, s.salt, s.rotated_at, s.revoked_at, s.expires_at
		FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 FOR UPDATE OF s`, t.session).
		Scan(&r.user, &r.role, &r.current, &r.previous, &r.salt, &r.rotated, &r.revoked, &r.expires)
	if errors.Is(err, pgx.ErrNoRows) {
		return Session{}, refused("the session doesn't exist, or its user was deleted"), nil
	}
	if err != nil {
		return Session{}, nil, err
	}
	now := s.now()
	if r.revoked != nil || !now.Before(r.expires) {
		return Session{}, refused("the session has ended"), nil
	}
	successor, valid, err := s.rotate(ctx, tx, t, r, now)
	if err != nil {
		return Session{}, nil, err
	}
	if !valid {
		s.log.WarnContext(ctx, "a used refresh token was sent again: the session ends", "session_id", t.session)
		client.Detail = "a used refresh token was sent again"
		recorded, more := client.Statement("ended", "user_id", "id", 2)
		_, err := tx.Exec(ctx, `WITH ended AS (
				UPDATE sessions SET revoked_at = $2, address = '', user_agent = '' WHERE id = $1 RETURNING id, user_id
			) `+recorded,
			append([]any{t.session, now}, more...)...)
		return Session{}, refused("the token was used before"), err
	}
	return Session{
		ID: t.session, UserID: r.user, Role: r.role,
		RefreshToken: successor.String(), ExpiresIn: int(r.expires.Sub(now).Seconds()),
	}, nil, nil
}

// rotate returns the token that follows t, and whether t is valid.
func (s *Sessions) rotate(ctx context.Context, tx pgx.Tx, t token, r row, now time.Time) (successor token, valid bool, err error) {
	if r.rotated != nil && t.is(r.previous) {
		return t.next(r.salt), now.Sub(*r.rotated) <= grace, nil
	}
	if !t.is(r.current) {
		return token{}, false, nil
	}
	salt := newSecret()
	successor = t.next(salt)
	_, err = tx.Exec(ctx, "UPDATE sessions SET token_hash = $2, previous_hash = $3, salt = $4, rotated_at = $5 WHERE id = $1",
		t.session, successor.hash(), r.current, salt, now)
	return successor, true, err
}

func refused(reason string) error {
	return problem.New(problem.Unauthenticated, "The refresh token is not valid or has expired.", errors.New(reason))
}

// Revoke ends the session of a token. It ignores a token without a session.
func (s *Sessions) Revoke(ctx context.Context, raw string, client audit.Entry) error {
	t, ok := parse(raw)
	if !ok {
		return nil
	}
	_, err := s.end(ctx, client, "id = $2 AND $3 IN (token_hash, previous_hash)", t.session, t.hash())
	return err
}

// End ends one session of a user, or all of them (uuid.Nil). It fails with problem.NotFound if the user has
// no such session.
func (s *Sessions) End(ctx context.Context, user, session uuid.UUID, client audit.Entry) error {
	ended, err := s.end(ctx, client, "user_id = $2 AND $3::uuid IN (id, '00000000-0000-0000-0000-000000000000'::uuid)", user, session)
	if err == nil && ended == 0 && session != uuid.Nil {
		err = problem.New(problem.NotFound, "There is no such session.", nil)
	}
	return err
}

// end ends the sessions that fulfil condition with its two arguments, and returns their number. If the first
// argument is a user, end locks the user first, so that it doesn't miss a session that starts meanwhile.
func (s *Sessions) end(ctx context.Context, client audit.Entry, condition string, one, two any) (ended int, err error) {
	session := "id"
	if client.Action == audit.SessionsEnded {
		session = "NULL"
	}
	recorded, more := client.Statement("ended", "user_id", session, 3)
	var both pgx.Batch // one transaction, one round trip
	both.Queue("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", one)
	both.Queue(`WITH ended AS (
			UPDATE sessions SET revoked_at = $1, address = '', user_agent = ''
			WHERE revoked_at IS NULL AND expires_at > $1 AND `+condition+` RETURNING id, user_id
		), recorded AS (`+recorded+`)
		SELECT count(*) FROM ended`, append([]any{s.now(), one, two}, more...)...).QueryRow(func(row pgx.Row) error { return row.Scan(&ended) })
	err = s.pool.SendBatch(ctx, &both).Close()
	return ended, postgres.Failure("ending a session", err)
}

// Open is an open session as its user sees it.
type Open struct {
	ID        uuid.UUID  `json:"id"`
	BegunAt   time.Time  `json:"begun_at"`
	UsedAt    *time.Time `json:"refreshed_at,omitempty"` // when it got its newest tokens
	ExpiresAt time.Time  `json:"expires_at"`
	Address   string     `json:"address,omitempty"` // of the client that started it
	UserAgent string     `json:"user_agent,omitempty"`
}

// List returns the open sessions of a user, newest first: at most maxPerUser.
func (s *Sessions) List(ctx context.Context, user uuid.UUID) ([]Open, error) {
	rows, _ := s.pool.Query(ctx, `SELECT id, created_at, rotated_at, expires_at, address, user_agent FROM sessions
		WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY id DESC LIMIT $3`, user, s.now(), maxPerUser)
	open, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Open]) // returns the error of the query, too
	return open, postgres.Failure("listing sessions", err)
}

// Ended is a revoked session.
type Ended struct {
	ID uuid.UUID `json:"session_id"`
	At time.Time `json:"at"`
}

// Revoked returns the sessions that were revoked after the given one and whose access tokens may still be
// valid, in the order of their end. It returns at most page sessions (0: no limit), and reports whether there
// are more.
func (s *Sessions) Revoked(ctx context.Context, after Ended, page int) (ended []Ended, more bool, err error) {
	if oldest := s.now().Add(-listedFor); after.At.Before(oldest) {
		after = Ended{At: oldest}
	}
	var limit any // NULL: none
	if page > 0 {
		limit = page + 1 // one more, to detect a next page
	}
	rows, _ := s.pool.Query(ctx, `SELECT id, revoked_at FROM sessions
		WHERE revoked_at IS NOT NULL AND (revoked_at, id) > ($1, $2) ORDER BY revoked_at, id LIMIT $3`, after.At, after.ID, limit)
	ended, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Ended]) // returns the error of the query, too
	if err != nil {
		return nil, false, postgres.Failure("listing revoked sessions", err)
	}
	if page == 0 || len(ended) <= page {
		return ended, false, nil
	}
	return ended[:page], true, nil
}

// Sweep deletes sessions that ended longer than kept ago.
func (s *Sessions) Sweep(ctx context.Context) error {
	return postgres.DeleteInBatches(ctx, s.pool, "deleting old sessions", `DELETE FROM sessions WHERE id IN (
		SELECT id FROM sessions WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2)`, s.now().Add(-kept))
}
