// Package store stores orders in Postgres.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/etag"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/outbox"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/order-service/internal/order"
)

// Orders is the table of orders. Each change is committed together with its event. uuid.Nil as the owner
// means every user.
type Orders struct {
	pool    *pgxpool.Pool
	changed func()
}

// Outbox is the outbox with the events of orders.
var Outbox = outbox.Outbox{
	Service: "order-service", Stream: event.Orders, Table: "outbox", Subject: "order_id", Groups: []string{"notification-service"},
}

// New returns the orders in the database of pool. It calls changed after the commit of every change.
func New(pool *pgxpool.Pool, changed func()) *Orders { return &Orders{pool: pool, changed: changed} }

const columns = `id, user_id, status, currency, total, created_at, updated_at, version, (
	SELECT jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity, 'unit_price', unit_price) ORDER BY line)
	FROM order_items WHERE order_id = orders.id)`

// Get returns an order of owner. It fails with problem.NotFound if there is none.
func (s *Orders) Get(ctx context.Context, id, owner uuid.UUID) (order.Order, error) {
	found, err := one(ctx, s.pool, "SELECT "+columns+" FROM orders WHERE id = $1", id, owner)
	return found, failure("reading an order", err)
}

// List returns up to limit orders of owner that were created before the given one (uuid.Max: from the
// newest), newest first.
func (s *Orders) List(ctx context.Context, owner, before uuid.UUID, limit int) ([]order.Order, error) {
	// Two statements, because a single one could use only one of the indexes.
	sql, arguments := "SELECT "+columns+" FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2", []any{before, limit}
	if owner != uuid.Nil {
		sql = "SELECT " + columns + " FROM orders WHERE id < $1 AND user_id = $3 ORDER BY id DESC LIMIT $2"
		arguments = append(arguments, owner)
	}
	rows, _ := s.pool.Query(ctx, sql, arguments...) // CollectRows returns the error
	orders, err := pgx.CollectRows(rows, scan)
	return orders, failure("listing orders", err)
}

// Move changes an order of owner that has one of the versions (nil: any). It fails with problem.NotFound if
// there is none, with problem.PreconditionFailed if it has another version, and with problem.Conflict if its
// status doesn't allow the move. Concurrent moves of an order wait for each other.
func (s *Orders) Move(ctx context.Context, id, owner uuid.UUID, versions []int64, m order.Move, now time.Time) (order.Order, error) {
	var moved order.Order
	var eventType event.Type
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		current, err := one(ctx, tx, "SELECT "+columns+" FROM orders WHERE id = $1 FOR UPDATE", id, owner)
		if err != nil {
			return err
		}
		if versions != nil && !slices.Contains(versions, current.Version) {
			return etag.Failed()
		}
		if moved, eventType, err = current.Apply(m, now); err != nil || eventType == "" {
			return err
		}
		var batch pgx.Batch
		batch.Queue("UPDATE orders SET status = $2, updated_at = $3, version = $4 WHERE id = $1",
			moved.ID, moved.Status, moved.UpdatedAt, moved.Version)
		Outbox.Add(ctx, &batch, eventType, moved.UpdatedAt, moved.ID, moved.EventData())
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return order.Order{}, failure("changing an order", err)
	}
	if eventType != "" {
		s.changed()
	}
	return moved, nil
}

// Anonymise returns the effect of event.UserDeleted: it removes the user from their orders. The orders stay,
// because accounting needs them.
func Anonymise(e event.Event) (consumer.Effect, error) {
	user, err := event.Data[event.User](e)
	return func(ctx context.Context, db postgres.DB) error {
		// The lock waits for transactions that create orders. Transactions that take it later see the row.
		if _, err := db.Exec(ctx, `WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(`+userLock+`))
			INSERT INTO deleted_users (user_id) SELECT $1 FROM locked ON CONFLICT DO NOTHING`, user.ID); err != nil {
			return postgres.Failure("recording a deleted user", err)
		}
		if err := postgres.DeleteInBatches(ctx, db, "deleting the keys of a user", `DELETE FROM idempotency_keys WHERE (user_id, key) IN (
			SELECT user_id, key FROM idempotency_keys WHERE user_id = $1 LIMIT $2)`, user.ID); err != nil {
			return err
		}
		return postgres.DeleteInBatches(ctx, db, "anonymising orders", `UPDATE orders SET user_id = '`+uuid.Nil.String()+`', version = version + 1
			WHERE id IN (SELECT id FROM orders WHERE user_id = $1 LIMIT $2)`, user.ID)
	}, err
}

// one returns the order that sql selects by id. It fails with pgx.ErrNoRows if the order isn't owner's.
func one(ctx context.Context, from postgres.DB, sql string, id, owner uuid.UUID) (order.Order, error) {
	rows, _ := from.Query(ctx, sql, id) // CollectExactlyOneRow returns the error
	found, err := pgx.CollectExactlyOneRow(rows, scan)
	if err == nil && owner != uuid.Nil && found.UserID != owner {
		return order.Order{}, pgx.ErrNoRows
	}
	return found, err
}

func scan(row pgx.CollectableRow) (order.Order, error) {
	var o order.Order
	err := row.Scan(&o.ID, &o.UserID, &o.Status, &o.Currency, &o.Total, &o.CreatedAt, &o.UpdatedAt, &o.Version, &o.Items)
	o.CreatedAt, o.UpdatedAt = o.CreatedAt.UTC(), o.UpdatedAt.UTC()
	return o, err
}

func failure(doing string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.New(problem.NotFound, "There is no such order.", err)
	}
	return postgres.Failure(doing, err)
}

const (
	// keptFor is how long an idempotency key and the id of a deleted user are kept: twice the 24 h promised
	// to clients.
	keptFor = 48 * time.Hour
	// claimAttempts is the number of tries, for keys that expire between two statements.
	claimAttempts = 3
	// userLock is the advisory lock of the user $1. Transactions that create orders share it; the deletion of
	// the user takes it exclusively.
	userLock = "hashtextextended($1::uuid::text, 0)"
)

// Request identifies a request: the user's key, and the hash of its content.
type Request struct {
	Key  string
	Hash []byte
}

// Response is the response to a request.
type Response struct {
	Status  int
	Body    []byte
	OrderID uuid.UUID
}

// Create adds an order and stores the response to its request. If the request was made before, Create adds
// nothing and returns the first response and true. It fails with problem.Invalid if the key was used for
// another content, and with problem.Unauthenticated if the user is deleted. Of concurrent requests with one
// key, one adds the order and the others wait for it.
func (s *Orders) Create(ctx context.Context, o order.Order, request Request, first Response) (response Response, replayed bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		response, replayed, err = claim(ctx, tx, o.UserID, request, first)
		if err != nil || replayed {
			return err
		}
		return insert(ctx, tx, o)
	})
	if err != nil {
		return Response{}, false, failure("creating an order", err)
	}
	if !replayed {
		s.changed()
	}
	return response, replayed, nil
}

// claim stores the key in this transaction, or returns the response of its first request. While another
// transaction inserts the key, Postgres waits.
func claim(ctx context.Context, tx pgx.Tx, user uuid.UUID, request Request, first Response) (response Response, replayed bool, err error) {
	for range claimAttempts {
		inserted, err := tx.Exec(ctx, `INSERT INTO idempotency_keys (user_id, key, request_hash, status, response, order_id)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			user, request.Key, request.Hash, first.Status, first.Body, first.OrderID)
		if err != nil {
			return Response{}, false, err
		}
		if inserted.RowsAffected() == 1 {
			return first, false, nil
		}
		var hash []byte
		var known Response
		err = tx.QueryRow(ctx, `SELECT request_hash, status, response, order_id FROM idempotency_keys
			WHERE user_id = $1 AND key = $2`, user, request.Key).Scan(&hash, &known.Status, &known.Body, &known.OrderID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			continue
		case err != nil:
			return Response{}, false, err
		case !bytes.Equal(hash, request.Hash):
			return Response{}, false, problem.New(problem.Invalid, "This Idempotency-Key was used for another order.", nil)
		}
		return known, true, nil
	}
	return Response{}, false, fmt.Errorf("the key was alternately present and absent, %d times", claimAttempts)
}

func insert(ctx context.Context, tx pgx.Tx, o order.Order) error {
	skus, quantities, prices := make([]string, len(o.Items)), make([]int64, len(o.Items)), make([]int64, len(o.Items))
	for i, item := range o.Items {
		skus[i], quantities[i], prices[i] = item.SKU, item.Quantity, item.UnitPrice
	}
	var batch pgx.Batch
	batch.Queue("SELECT pg_advisory_xact_lock_shared("+userLock+")", o.UserID)
	batch.Queue("SELECT EXISTS (SELECT FROM deleted_users WHERE user_id = $1)", o.UserID).QueryRow(func(row pgx.Row) error {
		var deleted bool
		if err := row.Scan(&deleted); err != nil || !deleted {
			return err
		}
		return problem.New(problem.Unauthenticated, "This user is deleted.", nil)
	})
	batch.Queue(`INSERT INTO orders (id, user_id, status, currency, total, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		o.ID, o.UserID, o.Status, o.Currency, o.Total, o.CreatedAt, o.UpdatedAt, o.Version)
	batch.Queue(`INSERT INTO order_items (order_id, line, sku, quantity, unit_price)
		SELECT $1, line, sku, quantity, unit_price
		FROM unnest($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS items (sku, quantity, unit_price, line)`,
		o.ID, skus, quantities, prices)
	Outbox.Add(ctx, &batch, event.OrderCreated, o.CreatedAt, o.ID, o.EventData())
	return tx.SendBatch(ctx, &batch).Close()
}

// Forget deletes idempotency keys and ids of deleted users that are older than keptFor.
func (s *Orders) Forget(ctx context.Context) error {
	return errors.Join(postgres.DeleteOld(ctx, s.pool, "idempotency_keys", "user_id, key", "created_at", keptFor),
		postgres.DeleteOld(ctx, s.pool, "deleted_users", "user_id", "deleted_at", keptFor))
}
