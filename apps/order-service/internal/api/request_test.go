package api

import (
	"net/http"
	"strings"
	"testing"
)

func FuzzIdempotencyKey(f *testing.F) {
	for _, key := range []string{"", "a", " a", "a\n", "ü", "~!", strings.Repeat("k", 255), strings.Repeat("k", 256)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		key, err := idempotencyKey(http.Header{"Idempotency-Key": {raw}})
		visible := !strings.ContainsFunc(raw, func(c rune) bool { return c < '!' || c > '~' })
		if valid := visible && raw != "" && len(raw) <= 255; (err == nil) != valid || valid && key != raw {
			t.Errorf("%q: got %q, %v", raw, key, err)
		}
	})
}

func TestTwoIdempotencyKeysAreRefused(t *testing.T) {
	if key, err := idempotencyKey(http.Header{"Idempotency-Key": {"a", "b"}}); err == nil {
		t.Errorf("got %q", key)
	}
}
