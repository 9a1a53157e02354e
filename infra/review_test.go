package main

import (
	"os"
	"strings"
	"testing"
)

// Otherwise the comment of the pull request would be the preview of an older commit, or empty.
func TestAPreviewThatCanNotBeginIsInTheSummary(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(folder+"/pulumi", []byte("#!/bin/sh\necho 'error: no login at https://user:password@backend' >&2\nexit 255\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":/usr/bin:/bin")
	var out strings.Builder
	err := summarise("..", "staging", "", &out)
	if err == nil || !strings.Contains(err.Error(), "no login at") {
		t.Errorf("got %v", err)
	}
	if text := out.String(); !strings.Contains(text, "### Preview of stack staging") || !strings.Contains(text, "pulumi ended before the preview began") || strings.Contains(text, "password") {
		t.Errorf("the summary is %q", text)
	}
}
