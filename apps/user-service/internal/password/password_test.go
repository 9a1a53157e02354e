package password

import (
	"context"
	"errors"
	"strings"
	"testing"

	"platform.example/apps/internal/problem"
)

func TestVerify(t *testing.T) {
	h := NewHasher()
	encoded, err := h.Hash(t.Context(), "correct horse")
	if err != nil || !strings.HasPrefix(encoded, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%s, %v", encoded, err)
	}
	for _, c := range []struct {
		name, password, encoded string
		right, fails            bool
	}{
		{"the right password", "correct horse", encoded, true, false},
		{"a wrong password", "Correct horse", encoded, false, false},
		{"no such user", "correct horse", "", false, false},
		{"no hash", "correct horse", "plain text", false, true},
		{"another scheme", "correct horse", strings.Replace(encoded, "argon2id", "argon2i", 1), false, true},
		{"parameters that would eat the memory", "correct horse", strings.Replace(encoded, "m=19456", "m=99999999", 1), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			right, err := h.Verify(t.Context(), c.password, c.encoded)
			if right != c.right || (err != nil) != c.fails {
				t.Errorf("got %t, %v", right, err)
			}
		})
	}
}

func TestNoMoreAtOnceThanMemoryAllows(t *testing.T) {
	h := NewHasher()
	if err := h.slots.Acquire(t.Context(), concurrency); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Hash(ctx, "correct horse")
	if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != problem.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}
