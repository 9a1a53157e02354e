package image

import (
	"regexp"
	"testing"

	"platform.example/infra/stack"
)

func TestUpstreamImagesArePinnedOutsideLocal(t *testing.T) {
	for name, tag := range map[string]string{
		"postgres": "docker.io/library/postgres:15-bookworm",
		"redis":    "docker.io/library/redis:7-bookworm",
	} {
		if got := Upstream(name, stack.Local, ""); got != tag {
			t.Errorf("local: %q; want %q", got, tag)
		}
		pinned := regexp.MustCompile(`^` + regexp.QuoteMeta(tag) + `@sha256:[0-9a-f]{64}$`)
		if got := Upstream(name, stack.Production, ""); !pinned.MatchString(got) {
			t.Errorf("production: %q; want the tag with a digest", got)
		}
	}
	defer func() { _ = recover() }()
	t.Errorf("an unknown name gives %q", Upstream("mysql", stack.Local, ""))
}

func TestParseChecksOutputs(t *testing.T) {
	digest := "registry.example.com/user-service@sha256:539ceaaae49b3a7c8a04467cf00cc6788d8e3f1675df41860d86eebc4c40524f"
	tests := []struct {
		name   string
		output any
		want   bool
	}{
		{"complete", map[string]any{"version": "0123456789ab", "digest": digest}, true},
		{"absent", nil, false},
		{"no digest", map[string]any{"version": "0123456789ab"}, false},
		{"a tag for a digest", map[string]any{"version": "0123456789ab", "digest": "user-service:latest"}, false},
		{"no version", map[string]any{"digest": digest}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, ok := parse(test.output); ok != test.want {
				t.Errorf("accepted: %v, want %v", ok, test.want)
			}
		})
	}
}
