package telemetry

import (
	"io"
	"sync"
	"time"
)

const (
	// flushAfter bounds how long a line waits, and so what is lost should the
	// process be killed. Writing each line by itself costs a system call per
	// request, a good part of what a cached read costs.
	flushAfter  = 100 * time.Millisecond
	bufferBytes = 16 << 10
)

// buffer writes lines together: when flushAfter is over, or when they are many.
type buffer struct {
	mu        sync.Mutex
	out       io.Writer
	lines     []byte
	timer     *time.Timer
	scheduled bool
}

func newBuffer(out io.Writer) *buffer {
	b := &buffer{out: out, lines: make([]byte, 0, bufferBytes)}
	b.timer = time.AfterFunc(flushAfter, b.flush)
	return b
}

// Write keeps line, which must be whole. It never fails: where the log can't be
// written there is nobody to tell.
func (b *buffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines)+len(line) > bufferBytes {
		b.write()
	}
	b.lines = append(b.lines, line...)
	if !b.scheduled {
		b.scheduled = true
		b.timer.Reset(flushAfter)
	}
	return len(line), nil
}

// flush writes what is held.
func (b *buffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scheduled = false
	b.write()
}

func (b *buffer) write() {
	if len(b.lines) > 0 {
		_, _ = b.out.Write(b.lines)
		b.lines = b.lines[:0]
	}
}
