package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"platform.example/apps/internal/problem"
)

// deleteBatch is the number of rows per statement: few enough for the statement timeout of 3 s on a busy
// database, and for queries that wait for the locks.
const deleteBatch = 1000

// DB is a pool or a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// DeleteOld deletes the rows of a table that are older than age. key lists the columns of its primary key; at
// is the column or expression with the time of a row.
func DeleteOld(ctx context.Context, on DB, table, key, at string, age time.Duration) error {
	return DeleteInBatches(ctx, on, "deleting old rows of "+table, fmt.Sprintf(`DELETE FROM %[1]s WHERE (%[2]s) IN (
		SELECT %[2]s FROM %[1]s WHERE %[3]s < $1 ORDER BY %[3]s LIMIT $2 FOR UPDATE SKIP LOCKED)`, table, key, at), time.Now().Add(-age))
}

// DeleteInBatches runs a statement that deletes or changes at most $2 rows selected by $1, such as a time,
// until no row is left. doing names the work in errors.
func DeleteInBatches(ctx context.Context, on DB, doing, statement string, selector any) error {
	for {
		result, err := on.Exec(ctx, statement, selector, deleteBatch)
		if err != nil {
			return Failure(doing, err)
		}
		if result.RowsAffected() < deleteBatch {
			return nil
		}
	}
}

// Failure returns the error of a failed query: problem.Unavailable if the database is unreachable or
// overloaded, so that a client can retry, or else a plain error. It returns a problem.Error unchanged, and
// nil if err is nil.
func Failure(doing string, err error) error {
	if _, known := errors.AsType[*problem.Error](err); known || err == nil {
		return err
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if unavailable(err) {
		return problem.New(problem.Unavailable, "The database is not available right now.", err)
	}
	return err
}

func unavailable(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code[:2] { // the class of the SQLSTATE, PostgreSQL manual, appendix A
		case "08", // connection exception
			"53", // insufficient resources
			"57": // operator intervention: shutdown, statement timeout
			return true
		}
		// Read only: a standby that isn't the primary yet. Serialization failure, deadlock: rolled back, and
		// the same request may succeed.
		return slices.Contains([]string{"25006", "40001", "40P01"}, pgErr.Code)
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
