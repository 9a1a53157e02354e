// Package password hashes and checks passwords with argon2id, never more of
// them at once than the memory of the service allows.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"

	"platform.example/apps/internal/problem"
)

// The parameters are those of the OWASP Password Storage Cheat Sheet for
// argon2id (m=19 MiB, t=2, p=1); salt and tag have the lengths of RFC 9106, 4.
const (
	memoryKiB  = 19 << 10
	passes     = 2
	lanes      = 1
	saltLength = 16
	tagLength  = 32

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
	decoy   string // is checked where there is no user: no password has this tag
}

// NewHasher returns a Hasher.
func NewHasher() *Hasher {
	return &Hasher{
		slots:   semaphore.NewWeighted(concurrency),
		hashing: semaphore.NewWeighted(concurrency),
		idle:    time.AfterFunc(idleAfter, debug.FreeOSMemory),
		decoy:   encode(random(saltLength), random(tagLength)),
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
	return hash(Normalise(password)), nil
}

// Verify reports whether password is the one that was hashed. An empty encoded
// means that there is no such user: it takes as long and is never right.
func (h *Hasher) Verify(ctx context.Context, password, encoded string) (bool, error) {
	known := encoded != ""
	if !known {
		encoded = h.decoy
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

const format = "$argon2id$v=%d$m=%d,t=%d,p=%d$"

func hash(password string) string {
	salt := random(saltLength)
	return encode(salt, argon2.IDKey([]byte(password), salt, passes, memoryKiB, lanes, tagLength))
}

func encode(salt, tag []byte) string {
	return fmt.Sprintf(format, argon2.Version, memoryKiB, passes, lanes) +
		base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(tag)
}

func random(length int) []byte {
	bytes := make([]byte, length)
	_, _ = rand.Read(bytes) // never fails: crypto/rand
	return bytes
}

func verify(password, encoded string) (bool, error) {
	p, err := parse(encoded)
	if err != nil {
		return false, err
	}
	computed := argon2.IDKey([]byte(password), p.salt, p.passes, p.memoryKiB, p.lanes, tagLength)
	return subtle.ConstantTimeCompare(computed, p.tag) == 1, nil
}

// parsed is what a hash says of itself.
type parsed struct {
	memoryKiB, passes uint32
	lanes             uint8
	salt, tag         []byte
}

// parse reads what encode wrote, and nothing that would cost more to check.
func parse(encoded string) (p parsed, err error) {
	var version int
	// "", "argon2id", "v=…", "m=…,t=…,p=…", salt, tag
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 {
		return parsed{}, malformed("it has no six parts")
	}
	if _, err := fmt.Sscanf(strings.Join(parts[:4], "$")+"$", format, &version, &p.memoryKiB, &p.passes, &p.lanes); err != nil {
		return parsed{}, malformed(err.Error())
	}
	if version != argon2.Version || p.memoryKiB > memoryKiB || p.passes == 0 || p.passes > passes || p.lanes == 0 || p.lanes > lanes {
		return parsed{}, malformed("its parameters are not ours")
	}
	var saltErr, tagErr error
	p.salt, saltErr = base64.RawStdEncoding.DecodeString(parts[4])
	p.tag, tagErr = base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || tagErr != nil || len(p.tag) != tagLength {
		return parsed{}, malformed("its salt or tag is not base64")
	}
	return p, nil
}

func malformed(why string) error {
	return fmt.Errorf("the stored password hash is malformed: %s", why)
}
