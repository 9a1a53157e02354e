// Package store stores notifications, their deliveries to the webhook, and deleted users in Postgres.
package store

import "github.com/jackc/pgx/v5/pgxpool"

// Store is the database of notifications. Its errors are those of postgres.Failure.
type Store struct{ pool *pgxpool.Pool }

// New returns the store in the database of pool.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }
