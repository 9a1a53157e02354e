// Package progress prints progress to the terminal, one line per event, each with the time since the start.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Log prints lines; it is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// New returns a Log and starts its clock.
func New(out io.Writer) *Log { return &Log{out: out, start: time.Now()} }

// Say writes one line.
func (l *Log) Say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	elapsed := time.Since(l.start).Round(time.Second)
	fmt.Fprintf(l.out, "%2d:%02d  %s\n", int(elapsed.Minutes()), int(elapsed.Seconds())%60, fmt.Sprintf(format, args...))
}

// Elapsed is the time since the start, in whole seconds.
func (l *Log) Elapsed() time.Duration { return time.Since(l.start).Round(time.Second) }
