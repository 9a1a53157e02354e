package config

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Service is the configuration that every service has.
type Service struct {
	Name          string
	Version       string // hash of the built content, 12 hex digits
	Colour        string // the release: blue, green or none
	Environment   string
	LogLevel      slog.Level
	HTTPAddr      string        // listen address of the API
	OpsAddr       string        // listen address of health and metrics, for the platform only
	ShutdownDelay time.Duration // between the stop signal and the stop: longer than the routing takes to change
	OTLPEndpoint  *url.URL      // nil: traces are not exported
}

// ReadService reads a Service. name is the default of SERVICE_NAME.
func ReadService(e *Env, name string) Service {
	ParsedOr(e, "OTEL_EXPORTER_OTLP_HEADERS", "", otlpHeaders) // the exporter reads them itself
	return Service{
		Name:          ParsedOr(e, "SERVICE_NAME", name, String),
		Version:       ParsedOr(e, "SERVICE_VERSION", "dev", String),
		Colour:        ParsedOr(e, "SERVICE_COLOUR", "none", OneOf("blue", "green", "none")),
		Environment:   ParsedOr(e, "ENVIRONMENT", "local", OneOf("local", "staging", "production")),
		LogLevel:      ParsedOr(e, "LOG_LEVEL", slog.LevelInfo, logLevel),
		HTTPAddr:      ParsedOr(e, "HTTP_ADDR", ":8080", ListenAddr),
		OpsAddr:       ParsedOr(e, "OPS_ADDR", ":9090", ListenAddr),
		ShutdownDelay: ParsedOr(e, "SHUTDOWN_DELAY", 5*time.Second, Duration(0, time.Minute)),
		OTLPEndpoint:  ParsedOr(e, "OTEL_EXPORTER_OTLP_ENDPOINT", nil, HTTPURL),
	}
}

// otlpHeaders accepts name=value pairs, separated by commas. Its error doesn't contain them: a value may be a
// token.
func otlpHeaders(raw string) (string, error) {
	for pair := range strings.SplitSeq(raw, ",") {
		name, value, found := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(value); err != nil || !found || strings.TrimSpace(name) == "" {
			return "", errors.New("must be name=value pairs, separated by commas, with percent-encoded values")
		}
	}
	return raw, nil
}

func logLevel(raw string) (slog.Level, error) {
	var level slog.Level
	name, err := OneOf("debug", "info", "warn", "error")(strings.ToLower(raw))
	if err == nil {
		err = level.UnmarshalText([]byte(name))
	}
	return level, err
}
