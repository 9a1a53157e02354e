// Package faults kills, stops and breaks parts of the running platform, and tests that the platform recovers: make faults.
package faults

import (
	"testing"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }
