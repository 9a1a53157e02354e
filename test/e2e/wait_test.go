package e2e

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is short against anything that is waited for, and long enough that
// asking doesn't load the machine.
const pollEvery = 300 * time.Millisecond

// within asks until there is no error, and returns the last one when the time is over.
func within(limit time.Duration, condition func() error) error {
	deadline := time.After(limit)
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(pollEvery):
		}
	}
}

// eventually fails the test unless the condition comes to hold.
func eventually(t *testing.T, limit time.Duration, what string, condition func() error) {
	t.Helper()
	if err := within(limit, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
