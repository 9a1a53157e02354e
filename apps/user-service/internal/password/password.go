// Package password hashes and checks passwords with argon2id, never more of
// them at once than the memory of the service allows.
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

// params are those of the OWASP Password Storage Cheat Sheet for argon2id (m=19
// MiB, t=2, p=1); salt and tag have the lengths of RFC 9106, 4.
var params = &argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// decoy is checked where there is no user. No password is known to have this tag.
const decoy = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

const (
	// One at a time. A hash saturates one core, and its 19 MiB are garbage
	// until the next collection: a process that hashed without pause was seen to
	// take 117 MiB with two at a time, too near the 128 MiB that it is given.
	concurrency = 1
	// queueTimeout is how long a request waits for its turn before it is told
	// to come back.
	queueTimeout = 2 * time.Second
	// Without hashing for this long, its memory goes back to the system: the
	// runtime by itself would keep some 60 MiB for minutes.
	idleAfter = 10 * time.Second
)

// Hasher hashes and checks passwords.
type Hasher struct {
	slots *semaphore.Weighted // in the order in which they are asked for
	// hashing bounds the new passwords that wait for a slot, so that any number of
	// sign-ups leaves every other turn to sign-ins.
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

// Normalise returns the form of password that is hashed: keyboards differ in how
// they compose a character. It is NFKC (NIST SP 800-63B) rather than OpaqueString
// (RFC 8265), which refuses some passwords that are in use.
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

// Verify reports whether password is the one that was hashed. An empty encoded
// means that there is no such user: it takes as long and is never right.
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
	// Hashes from before passwords were normalised. Whether there is a user makes no difference to the time.
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

// verify checks a hash that costs no more to check than those of Hash.
func verify(password, encoded string) (bool, error) {
	p, _, _, err := argon2id.DecodeHash(encoded)
	if err == nil && (p.Memory > params.Memory || p.Iterations == 0 || p.Iterations > params.Iterations ||
		p.Parallelism != params.Parallelism || p.KeyLength != params.KeyLength) {
		err = errors.New("its parameters are not ours")
	}
	if err != nil {
		return false, fmt.Errorf("the stored password hash is malformed: %w", err)
	}
	return argon2id.ComparePasswordAndHash(password, encoded)
}
