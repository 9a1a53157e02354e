// Package store stores orders in Postgres.
package store

import (
	"context"
	"errors"
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

// Outbox returns the outbox with the events of orders.
func Outbox() outbox.Outbox {
	return outbox.Outbox{Service: "order-service", Stream: event.Orders, Table: "outbox", Subject: "order_id", Groups: []string{"notification-service"}}
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
		if err := Outbox().Add(ctx, &batch, eventType, moved.UpdatedAt, moved.ID, moved.EventData()); err != nil {
			return err
		}
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
	return func(ctx context.Context, db postgres.Execer) error {
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
func one(ctx context.Context, from postgres.Querier, sql string, id, owner uuid.UUID) (order.Order, error) {
	rows, _ := from.Query(ctx, sql, id) // CollectExactlyOneRow returns the error
	found, err := pgx.CollectExactlyOneRow(rows, scan)
	if err != nil {
		return order.Order{}, err
	}
	if owner != uuid.Nil && found.UserID != owner {
		return order.Order{}, pgx.ErrNoRows
	}
	return found, nil
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
