package backoff

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDelayDoublesUpToMax(t *testing.T) {
	p := Policy{Base: time.Second, Max: time.Hour}
	for failures, full := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 12: 2048 * time.Second, 13: time.Hour, 1 << 20: time.Hour,
	} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := p.Delay(failures)
			if d < full/2 || d > full {
				t.Errorf("after %d failures: %s, want %s to %s", failures, d, full/2, full)
			}
			seen[d] = true
		}
		if len(seen) < 50 {
			t.Errorf("after %d failures there are only %d different delays", failures, len(seen))
		}
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Policy{Base: time.Hour, Max: time.Hour}.Wait(ctx, 1) // else the test would not end
}

func TestRepeatLogsTheFirstOfFailuresInARow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var logs bytes.Buffer
	results := []error{errors.New("one"), errors.New("two"), nil, errors.New("three"), nil, nil}
	Policy{Base: 1, Max: 1}.Repeat(ctx, slog.New(slog.NewTextHandler(&logs, nil)), "it waits", func() error {
		err := results[0]
		if results = results[1:]; len(results) == 0 {
			cancel()
		}
		return err
	})
	var got []string
	for line := range strings.Lines(logs.String()) {
		_, message, _ := strings.Cut(strings.TrimSpace(line), " msg=")
		got = append(got, message)
	}
	want := `"it waits" cause=one, "over: it waits", "it waits" cause=three, "over: it waits"`
	if strings.Join(got, ", ") != want {
		t.Errorf("logs %q, want %q", got, want)
	}
}
