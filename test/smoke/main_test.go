// Package smoke tests the basic functions and the protection of the running platform: make smoke. Each test takes seconds, and changes
// nothing but users, their orders, and pods of its own, which it removes.
package smoke

import (
	"testing"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }
