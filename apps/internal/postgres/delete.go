package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// deleteBatch rows are deleted at a time: few enough for the 3 s that a
// statement may take on a busy database, and for those who wait for their locks.
const deleteBatch = 1000

// DeleteInBatches runs a statement that deletes at most $2 rows older than $1, a time or an age,
// until there are none left.
func DeleteInBatches(ctx context.Context, pool *pgxpool.Pool, doing, statement string, older any) error {
	for {
		done, err := pool.Exec(ctx, statement, older, deleteBatch)
		if err != nil {
			return Failure(doing, err)
		}
		if done.RowsAffected() < deleteBatch {
			return nil
		}
	}
}
