// Package postgres connects a service to its database, brings the schema up to
// date and tells how the connections are used.
package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/dial"
)

const (
	// Long, since a busy server has to begin anew with every client that gives up; a request doesn't wait for it longer than
	// it waits for an answer.
	connectTimeout = 10 * time.Second
	// statementTimeout bounds a query of a request, in the database itself,
	// below the 4 s that a request may take.
	statementTimeout = 3 * time.Second
	// Short enough that a pool leaves an old primary, or spreads again, by itself.
	maxConnLifetime = 30 * time.Minute
)

// Config says where the database is and who asks.
type Config struct {
	host, port, database, user string
	password                   config.Secret
	sslMode                    string
	authorities                *x509.CertPool // that sign the server's certificate; nil: the system's roots
	maxConns                   int

	Spans trace.TracerProvider // of the statements that belong to a span; nil: there are none
}

const (
	verified = "verify-full" // TLS with the server that the address names
	noTLS    = "disable"
	// TLS with whoever answers: for a server elsewhere whose certificate nobody vouches for.
	unverified = "require"
)

// ReadConfig reads a Config.
func ReadConfig(e *config.Env) Config {
	sslMode := config.ParsedOr(e, "POSTGRES_SSLMODE", verified, config.OneOf(noTLS, unverified, verified))
	return Config{
		host:     config.Parsed(e, "POSTGRES_HOST", config.Host),
		port:     strconv.Itoa(config.ParsedOr(e, "POSTGRES_PORT", 5432, config.Int(1, 65535))),
		database: config.Parsed(e, "POSTGRES_DATABASE", config.String),
		user:     config.Parsed(e, "POSTGRES_USER", config.String),
		password: config.Parsed(e, "POSTGRES_PASSWORD", config.SecretText),
		sslMode:  sslMode,
		authorities: config.ParsedOr(e, "POSTGRES_CA_CERTIFICATE", nil, func(raw string) (*x509.CertPool, error) {
			if sslMode != verified {
				return nil, errors.New("is set and would not be used: it needs POSTGRES_SSLMODE=" + verified)
			}
			return config.Certificates(raw)
		}),
		maxConns: config.ParsedOr(e, "POSTGRES_MAX_CONNS", 8, config.Int(1, 100)),
	}
}

func (c Config) pool() (*pgxpool.Config, error) {
	address := url.URL{
		Scheme: "postgres", User: url.User(c.user), Host: net.JoinHostPort(c.host, c.port), Path: "/" + c.database,
		RawQuery: url.Values{"sslmode": {c.sslMode}}.Encode(),
	}
	pool, err := pgxpool.ParseConfig(address.String())
	if err != nil {
		return nil, fmt.Errorf("POSTGRES_*: %w", err)
	}
	pool.ConnConfig.Password = c.password.Reveal() // here, so that no URL ever holds it
	if secured := pool.ConnConfig.TLSConfig; secured != nil {
		// No session cache: Postgres never resumes a session.
		secured.MinVersion = tls.VersionTLS12
		if c.authorities != nil {
			secured.RootCAs = c.authorities
		}
	}
	pool.ConnConfig.ConnectTimeout = connectTimeout
	pool.ConnConfig.DialFunc = (&dial.Dialer{Dialer: net.Dialer{KeepAlive: dial.KeepAlive}}).DialContext
	pool.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the dialer looks it up
	pool.MaxConns = int32(c.maxConns)
	pool.MinConns = pool.MaxConns / 2 // or a colour that gets the traffic would make them all at that moment
	pool.MaxConnLifetime = maxConnLifetime
	pool.MaxConnLifetimeJitter = maxConnLifetime / 10
	return pool, nil
}
