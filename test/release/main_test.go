// Package release tests releases on the running platform, under load and with failures: make release-test. Each test restores the
// version of the repository's sources.
package release

import (
	"testing"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }
