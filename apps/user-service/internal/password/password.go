// Package password hashes and verifies passwords with argon2id, within the memory limit of the service.
package password

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"

	"platform.example/apps/internal/problem"
)

// params are the argon2id parameters of the OWASP Password Storage Cheat Sheet (m=19 MiB, t=2, p=1). Salt and
// tag have the lengths of RFC 9106, 4.
var params = &argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// decoy is verified if there is no user. No known password has this tag.
const decoy = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

const (
	// One hash at a time. A hash saturates one core, and its 19 MiB are garbage until the next collection:
	// hashing two at a time without pause took 117 MiB, too close to the limit of 128 MiB.
	concurrency = 1
	// queueTimeout is how long a request waits for its turn before it fails with 503.
	queueTimeout = 2 * time.Second
	// After this time without hashing, the memory is returned to the system: the runtime alone would keep
	// about 60 MiB for minutes.
	idleAfter = 10 * time.Second
)

// Hasher hashes and verifies passwords.
type Hasher struct {
	slots *semaphore.Weighted // first in, first out
	// hashing limits the new passwords that wait for a slot, so that sign-ups leave at least every other turn
	// to sign-ins.
	hashing *semaphore.Weighted
	idle    *time.Timer
}

// NewHasher returns a Hasher.
func NewHasher() *Hasher {
	return &Hasher{
		slots:   semaphore.NewWeighted(concurrency),
		hashing: semaphore.NewWeighted(concurrency),
		idle:    time.AfterFunc(idleAfter, debug.FreeOSMemory),
	}
}

// Normalise returns the form of password that is hashed, because keyboards differ in how they compose a
// character. It is NFKC (NIST SP 800-63B), not OpaqueString (RFC 8265), which refuses some passwords in use.
func Normalise(password string) string { return norm.NFKC.String(password) }

// Hash returns the hash of password in PHC string format.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if err := h.acquire(ctx, h.hashing); err != nil {
		return "", err
	}
	defer h.hashing.Release(1)
	if err := h.acquire(ctx, h.slots); err != nil {
		return "", err
	}
	defer h.release()
	return argon2id.CreateHash(Normalise(password), params)
}

// Verify reports whether password matches the hash in encoded. An empty encoded means that the user doesn't
// exist: Verify takes the same time and returns false.
func (h *Hasher) Verify(ctx context.Context, password, encoded string) (bool, error) {
	known := encoded != ""
	if !known {
		encoded = decoy
	}
	if err := h.acquire(ctx, h.slots); err != nil {
		return false, err
	}
	defer h.release()
	right, err := verify(Normalise(password), encoded)
	// Old hashes are of passwords that weren't normalised. The time doesn't depend on whether the user
	// exists.
	if !right && err == nil && !norm.NFKC.IsNormalString(password) {
		right, err = verify(password, encoded)
	}
	return right && known, err
}

func (h *Hasher) acquire(ctx context.Context, turn *semaphore.Weighted) error {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if err := turn.Acquire(ctx, 1); err != nil {
		return problem.New(problem.Unavailable, "Too many passwords are being checked right now.",
			fmt.Errorf("waiting to hash a password: %w", err))
	}
	return nil
}

func (h *Hasher) release() {
	h.slots.Release(1)
	h.idle.Reset(idleAfter)
}

// verify verifies a hash. It refuses a hash that costs more than those of Hash.
func verify(password, encoded string) (bool, error) {
	p, _, _, err := argon2id.DecodeHash(encoded)
	if err == nil && (p.Memory > params.Memory || p.Iterations == 0 || p.Iterations > params.Iterations ||
		p.Parallelism != params.Parallelism || p.KeyLength != params.KeyLength) {
		err = errors.New("its parameters are not those of the service")
	}
	if err != nil {
		return false, fmt.Errorf("the stored password hash is malformed: %w", err)
	}
	return argon2id.ComparePasswordAndHash(password, encoded)
}
