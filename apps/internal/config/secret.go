package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that must never be shown. However it is printed, logged or
// encoded, it reads [redacted].
//
// The value is held behind a pointer because fmt can't call methods on
// unexported fields: a struct that holds a Secret would print an address
// rather than the value.
type Secret struct{ value *string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value itself: call it only where the value is used.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Format answers every fmt verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue answers slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText answers JSON and every other text encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
