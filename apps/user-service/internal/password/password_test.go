package password

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/alexedwards/argon2id"

	"platform.example/apps/internal/problem"
)

func TestVerify(t *testing.T) {
	h := NewHasher()
	encoded, err := h.Hash(t.Context(), "correct horse")
	if err != nil || !strings.HasPrefix(encoded, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%s, %v", encoded, err)
	}
	composed, err := h.Hash(t.Context(), "\u00e4ffix")
	if err != nil {
		t.Fatal(err)
	}
	old, err := argon2id.CreateHash("a\u0308\ufb03x", params)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, password, encoded string
		right, fails            bool
	}{
		{"the right password", "correct horse", encoded, true, false},
		{"a wrong password", "Correct horse", encoded, false, false},
		{"no such user", "correct horse", "", false, false},
		{"the right password, decomposed", "a\u0308\ufb03x", composed, true, false},
		{"a password that was hashed before it was normalised", "a\u0308\ufb03x", old, true, false},
		{"another spelling of that", "\u00e4ffix", old, false, false},
		{"no hash", "correct horse", "plain text", false, true},
		{"another scheme", "correct horse", strings.Replace(encoded, "argon2id", "argon2i", 1), false, true},
		{"parameters that would eat the memory", "correct horse", strings.Replace(encoded, "m=19456", "m=99999999", 1), false, true},
		{"parameters that would take for ever", "correct horse", strings.Replace(encoded, "t=2", "t=4294967295", 1), false, true},
		{"parameters that would take all the cores", "correct horse", strings.Replace(encoded, "p=1", "p=255", 1), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			right, err := h.Verify(t.Context(), c.password, c.encoded)
			if right != c.right || (err != nil) != c.fails {
				t.Errorf("got %t, %v", right, err)
			}
		})
	}
}

// The response time doesn't reveal whether a user exists: the work is the same.
func TestUnknownUserTakesAsLongAsWrongPassword(t *testing.T) {
	h := NewHasher()
	encoded, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]int{"wrong horse": 1, "wr\u00f6ng horse": 1, "wro\u0308ng horse": 2} {
		for _, encoded := range []string{encoded, ""} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			right, err := h.Verify(t.Context(), password, encoded)
			runtime.ReadMemStats(&after)
			// Each hash allocates its memory.
			if hashes := int(after.TotalAlloc-before.TotalAlloc) / (int(params.Memory) << 10); right || err != nil || hashes != want {
				t.Errorf("%+q of %.20q: %t, %v after %d hashes, want %d", password, encoded, right, err, hashes, want)
			}
		}
	}
}

func TestConcurrentHashesAreLimited(t *testing.T) {
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

// With far more sign-ups than the time allows, sign-ins still get every other turn.
func TestSignUpsDoNotStarveSignIns(t *testing.T) {
	h := NewHasher()
	encoded, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var signUps sync.WaitGroup
	defer signUps.Wait()
	defer stop()
	for range 500 {
		signUps.Go(func() {
			for ctx.Err() == nil {
				_, _ = h.Hash(ctx, "another horse") // most are refused
			}
		})
	}
	for range 20 {
		if right, err := h.Verify(t.Context(), "correct horse", encoded); err != nil || !right {
			t.Fatalf("a sign-in is refused: %v", err)
		}
	}
}

// For any stored text, verifying neither panics nor costs more than for the service's own hashes.
func FuzzVerify(f *testing.F) {
	encoded, err := argon2id.CreateHash("correct horse", params)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{encoded, "", "$$$$$", strings.Replace(encoded, "t=2", "t=4294967295", 1), strings.Replace(encoded, "t=2", "t=0", 1),
		strings.Replace(encoded, "p=1", "p=255", 1), strings.Replace(encoded, "p=1", "p=0", 1), strings.Replace(encoded, "m=19456", "m=0", 1),
		encoded + "$", encoded[:len(encoded)-1], strings.ToUpper(encoded)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		if _, err := verify("correct horse", encoded); err != nil {
			return
		}
		p, _, tag, err := argon2id.DecodeHash(encoded)
		if err != nil || p.Memory > params.Memory || p.Iterations < 1 || p.Iterations > params.Iterations || p.Parallelism != params.Parallelism || len(tag) != 32 {
			t.Errorf("%q is read as %+v, %v", encoded, p, err)
		}
	})
}
