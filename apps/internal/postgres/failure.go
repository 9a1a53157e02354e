package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"platform.example/apps/internal/problem"
)

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
