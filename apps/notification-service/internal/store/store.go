// Package store keeps notifications, which events they came from and their way
// to the webhook in Postgres.
package store

import "github.com/jackc/pgx/v5/pgxpool"

// Store is the database of notifications. Its failures are those of
// postgres.Failure.
type Store struct{ pool *pgxpool.Pool }

// New returns the store in the database of pool.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }
