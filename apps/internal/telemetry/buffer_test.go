package telemetry

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/apps/internal/config"
)

// writes records each write.
type writes struct {
	mu   sync.Mutex
	each []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each = append(w.each, string(p))
	return len(p), nil
}

func (w *writes) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.each...)
}

func TestBufferWritesLinesTogether(t *testing.T) {
	out := &writes{}
	lines := newBuffer(out)
	log := newLogger(lines, lines.flush, config.Service{})
	const many = 500
	for i := range many {
		log.Info("request", "n", i)
	}
	log.Warn("what operators must not miss")

	// A warning flushes the earlier lines, too.
	written := out.all()
	text := strings.Join(written, "")
	if n := strings.Count(text, "\n"); n != many+1 {
		t.Fatalf("%d lines are written, want %d", n, many+1)
	}
	if len(written) > many/10 {
		t.Errorf("%d writes for %d lines", len(written), many+1)
	}
	for i, each := range written {
		if !strings.HasPrefix(each, "{") || !strings.HasSuffix(each, "}\n") {
			t.Errorf("write %d breaks a line", i)
		}
	}
	for i := range many {
		if !strings.Contains(text, fmt.Sprintf(`"n":%d}`, i)) {
			t.Fatalf("line %d is missing", i)
		}
	}
}

func TestBufferFlushesSingleLine(t *testing.T) {
	out := &writes{}
	lines := newBuffer(out)
	newLogger(lines, lines.flush, config.Service{LogLevel: slog.LevelInfo}).Info("alone")
	for end := time.Now().Add(20 * time.Second); len(out.all()) == 0; {
		if time.Now().After(end) {
			t.Fatal("it isn't written")
		}
		time.Sleep(10 * time.Millisecond) // polls
	}
}
