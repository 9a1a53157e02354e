package postgres

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"platform.example/apps/internal/problem"
)

func TestFailure(t *testing.T) {
	for code, unavailable := range map[string]bool{
		"40001": true, // serialization failure
		"40P01": true, // deadlock
		"08006": true, // connection failure
		"53300": true, // too many connections
		"57014": true, // statement timeout
		"25006": true, // read only
		"40002": false, "40003": false, "22001": false, "23505": false, "42P01": false,
	} {
		err := Failure("testing", &pgconn.PgError{Code: code})
		if p, ok := errors.AsType[*problem.Error](err); ok != unavailable || ok && p.Code != problem.Unavailable {
			t.Errorf("%s: got %v, want unavailable: %t", code, err, unavailable)
		}
	}
}
