package api

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
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

// For any query, a user gets only their own orders, and an admin those of one user or of all.
func FuzzOwnerOf(f *testing.F) {
	me := identity.Principal{ID: uuid.MustParse("0190f3a0-0000-7000-8000-000000000001"), Role: identity.User}
	for _, seed := range []string{"", "user_id=", "user_id=" + me.ID.String(), "user_id=0190f3a0-0000-7000-8000-000000000002", "user_id=00000000-0000-0000-0000-000000000000", "user_id=x",
		"user_id=0190F3A0-0000-7000-8000-000000000001", "user_id=" + me.ID.String() + "&user_id=x", "%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		query, _ := url.ParseQuery(raw)
		if owner, err := ownerOf(query, me); err == nil && owner != me.ID {
			t.Errorf("%q lists the orders of %s", raw, owner)
		}
		admin := identity.Principal{ID: me.ID, Role: identity.Admin}
		if owner, err := ownerOf(query, admin); err == nil && (owner == uuid.Nil) != (query.Get("user_id") == "") {
			t.Errorf("%q lists the orders of %s for an admin", raw, owner)
		}
	})
}
