// Package config reads typed configuration from the environment. It collects all faults, so that one failed
// start reports everything that must be fixed.
package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Env reads environment variables and collects their faults. Read all variables, then call Err.
type Env struct {
	lookup func(string) (string, bool)
	faults []string
}

// From returns an Env that reads through lookup (os.LookupEnv in a process). An empty value counts as unset,
// as in the shell's ${NAME:-default}.
func From(lookup func(string) (string, bool)) *Env { return &Env{lookup: lookup} }

// Err returns nil, or one error that lists all faults so far.
func (e *Env) Err() error {
	if len(e.faults) == 0 {
		return nil
	}
	return fmt.Errorf("configuration has %d fault(s):\n  - %s", len(e.faults), strings.Join(e.faults, "\n  - "))
}

// Parsed reads a variable that must be set, and parses it. The error of parse must not contain a secret
// value.
func Parsed[T any](e *Env, name string, parse func(string) (T, error)) (value T) {
	if raw, ok := e.lookup(name); !ok || raw == "" {
		e.fault(name, errors.New("is required and not set"))
	}
	return ParsedOr(e, name, value, parse)
}

// ParsedOr reads a variable and parses it. It returns fallback if the variable is unset.
func ParsedOr[T any](e *Env, name string, fallback T, parse func(string) (T, error)) T {
	raw, ok := e.lookup(name)
	if !ok || raw == "" {
		return fallback
	}
	value, err := parse(raw)
	if err != nil {
		e.fault(name, err)
	}
	return value
}

func (e *Env) fault(name string, err error) {
	e.faults = append(e.faults, name+" "+err.Error())
}

// String accepts any text.
func String(raw string) (string, error) { return raw, nil }

// SecretText accepts any text and returns it as a Secret.
func SecretText(raw string) (Secret, error) { return NewSecret(raw), nil }

// OneOf returns a parser that accepts only the allowed values.
func OneOf(allowed ...string) func(string) (string, error) {
	return func(raw string) (string, error) {
		if !slices.Contains(allowed, raw) {
			return "", fmt.Errorf("is %q: allowed are %s", raw, strings.Join(allowed, ", "))
		}
		return raw, nil
	}
}

// Bool accepts true and false.
func Bool(raw string) (bool, error) {
	text, err := OneOf("true", "false")(raw)
	return text == "true", err
}

// Int returns a parser of whole numbers from low to high.
func Int(low, high int) func(string) (int, error) {
	return func(raw string) (int, error) {
		n, err := strconv.Atoi(raw)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("is %q: must be a whole number from %d to %d", raw, low, high)
		}
		return n, nil
	}
}

// Duration returns a parser of Go durations from low to high.
func Duration(low, high time.Duration) func(string) (time.Duration, error) {
	return func(raw string) (time.Duration, error) {
		d, err := time.ParseDuration(raw)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("is %q: must be a duration such as 5s, from %s to %s", raw, low, high)
		}
		return d, nil
	}
}

// ListenAddr accepts an address to listen on: host:port or :port.
func ListenAddr(raw string) (string, error) {
	if _, port, err := net.SplitHostPort(raw); err != nil || !isPort(port) {
		return "", fmt.Errorf("is %q: must be an address to listen on, such as :8080", raw)
	}
	return raw, nil
}

// Host accepts the name or the IP address of a host. Its error doesn't contain the value, which may be a URL
// with a password.
func Host(raw string) (string, error) {
	if raw == "" || strings.ContainsAny(raw, "@/= ") {
		return "", errors.New("must be a host alone, such as postgres.data or 192.0.2.1")
	}
	return raw, nil
}

// HostPorts accepts one or several host:port, separated by commas. Like Host, its error doesn't contain the value.
func HostPorts(raw string) ([]string, error) {
	all := strings.Split(raw, ",")
	for _, one := range all {
		host, port, err := net.SplitHostPort(one)
		if _, invalid := Host(host); err != nil || invalid != nil || !isPort(port) {
			return nil, errors.New("must be host:port, or several separated by commas")
		}
	}
	return all, nil
}

func isPort(raw string) bool {
	_, err := strconv.ParseUint(raw, 10, 16)
	return err == nil
}

// HTTPURL accepts the base URL of a service: http or https, without credentials, query or fragment.
func HTTPURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("must be a URL such as http://name:8080")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("must be a base URL without credentials, query or fragment")
	}
	return u, nil
}

const redacted = "[redacted]"

// Secret is a value that must never be shown. It prints, logs and encodes as [redacted].
//
// It holds the value behind a pointer because fmt can't call methods on unexported fields: a struct with a
// Secret prints an address, not the value.
type Secret struct{ value *string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value. Call it only where the value is used.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which encoding/json uses.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// CertificatesIf returns Certificates if they are used. Otherwise it refuses them: they need another setting.
func CertificatesIf(used bool, needs string) func(string) (*x509.CertPool, error) {
	if used {
		return Certificates
	}
	return func(string) (*x509.CertPool, error) { return nil, errors.New("is set but not used: it needs " + needs) }
}

// Certificates accepts one or more certificates in PEM, such as a CA bundle. Text between them is ignored. It
// refuses a bundle with an unreadable part, because a missing authority would otherwise show only when it is
// needed. Its errors don't contain the value, which may be a key by mistake.
func Certificates(raw string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	begins, blocks := strings.Count(raw, "-----BEGIN "), 0
	for rest := []byte(raw); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds something other than a certificate in PEM block %d: it must hold certificates only, and no key", blocks)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds no valid certificate in PEM block %d: %w", blocks, err)
		}
		pool.AddCert(certificate)
	}
	switch {
	case begins == 0:
		return nil, errors.New("holds no certificate: must be one or more in PEM, with their BEGIN and END lines")
	case blocks < begins:
		return nil, fmt.Errorf("has %d PEM blocks, but only %d are readable: the others are damaged or incomplete", begins, blocks)
	}
	return pool, nil
}
