package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
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

// Only the form in which we write an id is one: else an order had several paths.
func FuzzPathID(f *testing.F) {
	const id = "0192a000-0000-7000-8000-00000000a11c"
	for _, raw := range []string{"", id, strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), "1;drop", "\x00"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		route := chi.NewRouteContext()
		route.URLParams.Add("id", raw)
		r := httptest.NewRequest(http.MethodGet, "/orders/x", nil)
		got, err := pathID(r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, route)))
		if err == nil && got.String() != raw || err != nil && got != uuid.Nil {
			t.Errorf("%q: got %s, %v", raw, got, err)
		}
	})
}
