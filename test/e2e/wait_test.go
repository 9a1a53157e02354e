package e2e

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is short compared with all waiting times, and long enough that the polling doesn't load the machine.
const pollEvery = 300 * time.Millisecond

// within polls until there is no error, and returns the last error at the time limit.
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

// eventually fails the test unless the condition becomes true within the limit.
func eventually(t *testing.T, limit time.Duration, what string, condition func() error) {
	t.Helper()
	if err := within(limit, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
