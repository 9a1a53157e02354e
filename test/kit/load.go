package kit

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/test/load"
)

// loadRate returns the requests per second of reads, writes and orders: RATE in the environment, or a rate that leaves the machine
// capacity for a release.
var loadRate = sync.OnceValues(func() (float64, error) {
	if rate := os.Getenv("RATE"); rate != "" {
		return strconv.ParseFloat(rate, 64)
	}
	return load.Beside(context.Background(), load.Options{BaseURL: Gateway().Base, RootCAs: Authority()})
})

// StartLoad starts a load on the platform that lasts nine minutes at most. The caller stops it and calls Settle.
func StartLoad(t *testing.T) *load.Run {
	t.Helper()
	rate, err := loadRate()
	if err != nil {
		t.Fatal(err)
	}
	run, err := load.Start(context.Background(), load.Options{BaseURL: Gateway().Base, RootCAs: Authority(), Rate: rate, Duration: 9 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f requests per second", rate)
	return run
}

// LiveVersions returns the live version of each service, by name.
func LiveVersions(t *testing.T) map[string]string {
	t.Helper()
	live := map[string]string{}
	for _, service := range ServiceNames() {
		_, live[service], _ = strings.Cut(Output(t, "kubectl", "get", "service", service, "--namespace=apps",
			`--output=jsonpath={.metadata.annotations.platform\.example/live}`), " ")
	}
	return live
}

// EndOutage ends a load during which requests may fail with these statuses (0: without a response), and returns how many did.
// Each acknowledged order must exist and have one notification.
func EndOutage(t *testing.T, run *load.Run, allowed ...int) int {
	t.Helper()
	result := run.Stop()
	lost := result.Lost()
	var lasted time.Duration
	for _, sample := range lost {
		if !slices.Contains(allowed, sample.Status) {
			t.Errorf("%s at %s: status %d, %s", sample.Kind, sample.At, sample.Status, sample.Err)
		}
		lasted = max(lasted, sample.At.Sub(lost[0].At))
	}
	t.Logf("%s; requests failed for %s", result.Line(), lasted)
	if err := run.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	return len(lost)
}

// UnderLoad runs do while the platform is under load. No request may be lost, each order must exist and have one notification, and
// only versions may respond that were live before or after, or that do returns as live in between.
func UnderLoad(t *testing.T, do func() (between map[string]string)) {
	t.Helper()
	before := LiveVersions(t)
	run := StartLoad(t)
	defer func() {
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	between := do()
	time.Sleep(2 * time.Second) // include the time right after the change
	result := run.Stop()
	t.Logf("%s", result.Line())
	if err := result.Err(); err != nil {
		t.Errorf("%v\n%s", err, result.Summary())
	}
	after := LiveVersions(t)
	for _, sample := range result.Samples {
		for _, by := range sample.By {
			if version := by.Version; version != before[by.Service] && version != after[by.Service] && version != between[by.Service] {
				t.Fatalf("%s %s responded in %s, but must never be live", by.Service, version, by.Colour)
			}
		}
	}
}
