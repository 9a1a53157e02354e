package release_test

import (
	"testing"

	"platform.example/infra/release"
)

func TestColourName(t *testing.T) {
	for colour, want := range map[release.Colour]string{
		release.Blue:  "user-service-blue",
		release.Green: "user-service-green",
	} {
		if got := colour.Name("user-service"); got != want {
			t.Errorf("%s is named %q, want %q", colour, got, want)
		}
	}
}
