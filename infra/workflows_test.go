package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// workflow is the part of a workflow of GitHub Actions that the rules read.
type workflow struct {
	On          map[string]any
	Permissions map[string]string
	Jobs        map[string]struct {
		If, Environment string
		Container       any
		Steps           []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

// pinned matches an action at a commit: a tag can move to other code.
var pinned = regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40}$`)

// unsafe returns what a workflow does that a stranger's pull request, or a changed action, could abuse.
func unsafe(text string) []string {
	var flow workflow
	if err := yaml.Unmarshal([]byte(text), &flow); err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for _, trigger := range []string{"pull_request_target", "workflow_run", "issue_comment"} {
		if _, used := flow.On[trigger]; used {
			faults = append(faults, trigger+" gives secrets to a workflow that handles a stranger's input")
		}
	}
	if len(flow.Permissions) != 1 || flow.Permissions["contents"] != "read" {
		faults = append(faults, "the permissions for all jobs are not {contents: read}")
	}
	for name, job := range flow.Jobs {
		for _, step := range job.Steps {
			if step.Uses != "" && !pinned.MatchString(step.Uses) {
				faults = append(faults, fmt.Sprintf("job %s uses %s: want <action>@<commit>", name, step.Uses))
			}
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
				faults = append(faults, fmt.Sprintf("job %s leaves the token in the checkout", name))
			}
			if strings.Contains(step.Run, "${{") {
				faults = append(faults, fmt.Sprintf("job %s puts an expression into a shell: %s: pass it in env", name, step.Run))
			}
		}
	}
	_, jobs, _ := strings.Cut(text, "\njobs:")
	for _, block := range regexp.MustCompile(`(?m)^  [\w-]+:$`).Split(jobs, -1) {
		secret := strings.Contains(block, "secrets.")
		if secret && !strings.Contains(block, "\n    environment: ") {
			faults = append(faults, "a job without an environment reads secrets")
		}
		if _, ofPulls := flow.On["pull_request"]; ofPulls && secret &&
			!strings.Contains(block, "github.event.pull_request.head.repo.full_name == github.repository") {
			faults = append(faults, "a job reads secrets for a pull request of a fork")
		}
	}
	slices.Sort(faults)
	return faults
}

func TestWorkflowsAreSafe(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatalf("the workflows are %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range unsafe(string(text)) {
			t.Errorf("%s: %s", file, fault)
		}
		for _, line := range regexp.MustCompile(`(?m)uses: .*$`).FindAllString(string(text), -1) {
			if !regexp.MustCompile(`# v\d`).MatchString(line) {
				t.Errorf("%s: %s: want the version as a comment", file, line)
			}
		}
	}
}

func TestUnsafeWorkflowsAreFound(t *testing.T) {
	const safe = `
on: {pull_request: {}}
permissions: {contents: read}
jobs:
  preview:
    if: github.event.pull_request.head.repo.full_name == github.repository
    environment: preview
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683
        with: {persist-credentials: false}
      - env: {TOKEN: "${{ secrets.TOKEN }}"}
        run: make preview
`
	if faults := unsafe(safe); len(faults) != 0 {
		t.Fatalf("the safe workflow has faults: %v", faults)
	}
	for _, test := range []struct{ old, changed, want string }{
		{"pull_request:", "pull_request_target:", "pull_request_target"},
		{"{contents: read}", "{contents: write}", "permissions"},
		{"permissions: {contents: read}", "", "permissions"},
		{"@11bd71901bbe5b1630ceea73d27597364c9af683", "@v4", "want <action>@<commit>"},
		{"with: {persist-credentials: false}", "", "leaves the token"},
		{"run: make preview", "run: make preview TITLE='${{ github.event.pull_request.title }}'", "puts an expression into a shell"},
		{"environment: preview", "timeout-minutes: 5", "without an environment"},
		{"if: github.event.pull_request.head.repo.full_name == github.repository", "if: always()", "for a pull request of a fork"},
	} {
		changed := strings.Replace(safe, test.old, test.changed, 1)
		if faults := strings.Join(unsafe(changed), "; "); !strings.Contains(faults, test.want) {
			t.Errorf("%s: got %q, want %s", test.changed, faults, test.want)
		}
	}
}
