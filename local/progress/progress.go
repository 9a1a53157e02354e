// Package progress tells the person at the terminal what goes on, one line per
// event, each with the time since the start.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Log writes lines; several goroutines may share one.
type Log struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// New starts the clock.
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
