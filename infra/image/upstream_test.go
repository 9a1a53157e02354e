package image

import (
	"regexp"
	"strings"
	"testing"

	"platform.example/infra/stack"
)

func TestUpstreamImagesArePinnedOutsideLocal(t *testing.T) {
	for name, tag := range map[string]string{
		"postgres":       "ghcr.io/cloudnative-pg/postgresql:15.14-202511100817-system-bookworm",
		"cloudnative-pg": "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0",
		"redis":          "docker.io/library/redis:7-bookworm",
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

func TestPromotableChecksOutputs(t *testing.T) {
	digest := "registry.example.com/user-service@sha256:539ceaaae49b3a7c8a04467cf00cc6788d8e3f1675df41860d86eebc4c40524f"
	service := func(fields map[string]any) any {
		return []any{map[string]any{"number": 1.0, "services": map[string]any{"user-service": fields}, "tested": []any{"c1"}}}
	}
	tests := []struct {
		name   string
		output any
		commit string
		fault  string // empty: one service
	}{
		{"complete", service(map[string]any{"version": "0123456789ab", "digest": digest}), "", ""},
		{"a tested commit", service(map[string]any{"version": "0123456789ab", "digest": digest}), "c1", ""},
		{"an untested commit", service(map[string]any{"version": "0123456789ab", "digest": digest}), "c2", "commit c2 has not passed its tests"},
		{"no digest", service(map[string]any{"version": "0123456789ab"}), "", `user-service has version "0123456789ab" and image ""`},
		{"a tag for a digest", service(map[string]any{"version": "0123456789ab", "digest": "user-service:latest"}), "", "want 12 hexadecimal digits and a digest"},
		{"no version", service(map[string]any{"digest": digest}), "", `version ""`},
		{"another type", "text", "", "output releases: json:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, err := promotable(test.output, test.commit)
			switch {
			case test.fault == "" && (err != nil || found["user-service"].Image != digest):
				t.Errorf("got %v, %v", found, err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("got %v, want %s", err, test.fault)
			}
		})
	}
	if found, err := promotable(nil, ""); err != nil || len(found) != 0 {
		t.Errorf("before the first release: %v, %v", found, err)
	}
}
