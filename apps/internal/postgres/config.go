// Package postgres connects a service to its database, applies migrations and measures the connection pool.
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
	// Long, because a busy server starts over with every client that gives up. A request doesn't wait for it
	// beyond its own deadline.
	connectTimeout = 10 * time.Second
	// statementTimeout limits a query of a request in the database itself, below the 4 s of a request.
	statementTimeout = 3 * time.Second
	// Short enough that a pool leaves an old primary, or spreads over replicas again, by itself.
	maxConnLifetime = 30 * time.Minute
)

// Config is the address of the database and the credentials of the service.
type Config struct {
	host, port, database, user string
	password                   config.Secret
	sslMode                    string
	authorities                *x509.CertPool // that sign the server's certificate; nil means the system's roots
	maxConns                   int

	Spans trace.TracerProvider // of the statements that belong to a span; nil if there are none
}

const (
	verified = "verify-full" // TLS with a verified certificate and host name
	noTLS    = "disable"
	// TLS without verification: for an external server whose certificate no known authority signs.
	unverified = "require"
)

// ReadConfig reads a Config from POSTGRES_*.
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
				return nil, errors.New("is set but not used: it needs POSTGRES_SSLMODE=" + verified)
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
	pool.ConnConfig.Password = c.password.Reveal() // not in the URL, which errors may contain
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
	pool.MinConns = pool.MaxConns / 2 // so that a colour doesn't open all connections when it becomes live
	pool.MaxConnLifetime = maxConnLifetime
	pool.MaxConnLifetimeJitter = maxConnLifetime / 10
	return pool, nil
}
