package kit

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is short compared with all waiting times, and long enough that the polling doesn't load the machine.
const pollEvery = 300 * time.Millisecond

// Within polls a condition until it returns nil. After the limit, Within returns the condition's last error.
func Within(limit time.Duration, condition func() error) error {
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

// Eventually fails the test unless the condition returns nil within the limit.
func Eventually(t *testing.T, limit time.Duration, what string, condition func() error) {
	t.Helper()
	if err := Within(limit, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
