package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/order-service/internal/order"
)

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
	if err := Outbox().Add(ctx, &batch, event.OrderCreated, o.CreatedAt, o.ID, o.EventData()); err != nil {
		return err
	}
	return tx.SendBatch(ctx, &batch).Close()
}

// Forget deletes idempotency keys and ids of deleted users that are older than keptFor.
func (s *Orders) Forget(ctx context.Context) error {
	return errors.Join(postgres.DeleteOld(ctx, s.pool, "idempotency_keys", "user_id, key", "created_at", keptFor),
		postgres.DeleteOld(ctx, s.pool, "deleted_users", "user_id", "deleted_at", keptFor))
}
