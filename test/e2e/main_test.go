// Package e2e tests the running platform end to end: make e2e. Tests of files called read_… change no object of the platform and run
// first. Tests of files called write_… change the platform and revert their changes.
package e2e

import (
	"testing"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }
