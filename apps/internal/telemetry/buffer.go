package telemetry

import (
	"io"
	"sync"
	"time"
)

const (
	// flushAfter limits how long a line waits, and so the loss if the process is killed. Writing each line
	// separately costs a system call per request, a large part of the cost of a cached read.
	flushAfter  = 100 * time.Millisecond
	bufferBytes = 16 << 10
)

// buffer collects lines and writes them together, after flushAfter or when it is full.
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

// Write buffers a complete line. It never fails: there is no way to report a failed log.
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

// flush writes the buffered lines.
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
