// Package delivery tests the workflows and their scripts without a runner: safety rules, and what a script does with its answers.
package delivery

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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
			If, Uses, Run string
			With          map[string]any
		}
	}
}

// pinned matches an action at a commit: a tag can move to other code.
var pinned = regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40}$`)

// argument matches a command substitution in an argument. If it fails, the argument is empty.
var argument = regexp.MustCompile(`(?m)^\s*[^=\s]+\s.*\$\(`)

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
			if strings.Contains(step.Run, "make rollback") && !strings.HasPrefix(step.If, "always()") {
				faults = append(faults, fmt.Sprintf("job %s leaves its release live if it is cancelled", name))
			}
			if argument.MatchString(step.Run) {
				faults = append(faults, fmt.Sprintf("job %s ignores a failed command in an argument: %s: assign it to a variable first", name, step.Run))
			}
		}
	}
	_, jobs, _ := strings.Cut(text, "\njobs:")
	for _, block := range regexp.MustCompile(`(?m)^  [\w-]+:$`).Split(jobs, -1) {
		secret := strings.Contains(block, "secrets.")
		environment := strings.Contains(block, "\n    environment: ")
		if secret && !environment {
			faults = append(faults, "a job without an environment reads secrets")
		}
		if environment && strings.Contains(block, "uses: actions/cache@") {
			faults = append(faults, "a job with an environment restores a cache, which other jobs write")
		}
		if _, scheduled := flow.On["schedule"]; scheduled && strings.Contains(block, "\n    environment: production") {
			faults = append(faults, "a scheduled job waits for the reviewers of its environment")
		}
		if _, ofPulls := flow.On["pull_request"]; ofPulls && secret && !strings.Contains(block, "github.actor != 'dependabot[bot]'") {
			faults = append(faults, "a job reads secrets for Dependabot, which has none")
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
	files, err := filepath.Glob("../../.github/workflows/*.yml")
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
    if: github.event.pull_request.head.repo.full_name == github.repository && github.actor != 'dependabot[bot]'
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
		{"github.event.pull_request.head.repo.full_name == github.repository", "always()", "for a pull request of a fork"},
		{" && github.actor != 'dependabot[bot]'", "", "for Dependabot"},
		{"run: make preview", "run: make preview COMMIT=\"$(git rev-parse HEAD)\"", "ignores a failed command"},
		{"run: make preview", "run: make rollback", "leaves its release live"},
		{"    steps:\n", "    steps:\n      - uses: actions/cache@5a3ec84eff668545956fd18022155c47e93e2684\n", "restores a cache"},
	} {
		changed := strings.Replace(safe, test.old, test.changed, 1)
		if changed == safe {
			t.Errorf("the safe workflow lacks %s", test.old)
		}
		if faults := strings.Join(unsafe(changed), "; "); !strings.Contains(faults, test.want) {
			t.Errorf("%s: got %q, want %s", test.changed, faults, test.want)
		}
	}
}

// The user of a runner isn't root, and its Ubuntu has no PostgreSQL 15. A checkout has only the last commit by default.
func TestJobsCanRunTheirTargets(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	installs, history := regexp.MustCompile(`(?m)make (unit|race|test|test-all|up)\b|\.ci/run`), regexp.MustCompile(`make (test-all|upgrade-test|compare|preview-comment)\b`)
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var flow workflow
		if err := yaml.Unmarshal(text, &flow); err != nil {
			t.Fatal(err)
		}
		for name, job := range flow.Jobs {
			for _, step := range job.Steps {
				if installs.MatchString(step.Run) {
					checked++
					if job.Container == nil {
						t.Errorf("%s: job %s installs Debian packages on the runner: want a container", filepath.Base(file), name)
					}
				}
				if history.MatchString(step.Run) {
					checked++
					if job.Steps[0].With["fetch-depth"] != 0 {
						t.Errorf("%s: job %s needs former commits: want fetch-depth: 0", filepath.Base(file), name)
					}
				}
			}
		}
	}
	if checked < 7 {
		t.Errorf("%d steps were checked", checked)
	}
}

func TestScheduledJobsWaitForNoReviewer(t *testing.T) {
	const scheduled = "on: {schedule: []}\npermissions: {contents: read}\njobs:\n  drift:\n    environment: production\n    steps: []\n"
	if faults := strings.Join(unsafe(scheduled), "; "); !strings.Contains(faults, "waits for the reviewers") {
		t.Errorf("got %q", faults)
	}
}

// repository creates a git repository, and returns a function that runs a command in it.
func repository(t *testing.T) func(command string, environment ...string) (string, error) {
	t.Helper()
	folder := t.TempDir()
	scripts, err := filepath.Abs("../../.github/scripts")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string, environment ...string) (string, error) {
		command := exec.CommandContext(t.Context(), "bash", "-e", "-c", text)
		command.Dir, command.Env = folder, append(append(os.Environ(), "PATH="+scripts+":"+os.Getenv("PATH"),
			"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com"), environment...)
		printed, err := command.CombinedOutput()
		return string(printed), err
	}
}

// A pull request that only changes documents starts no job. GitHub counts skipped jobs as passed.
func TestOnlyDocumentsSkipTheTestsOfAPullRequest(t *testing.T) {
	text, err := os.ReadFile("../../.github/workflows/pull-request.yml")
	if err != nil {
		t.Fatal(err)
	}
	var flow workflow
	if err := yaml.Unmarshal(text, &flow); err != nil {
		t.Fatal(err)
	}
	steps := flow.Jobs["scope"].Steps
	scope := steps[len(steps)-1].Run
	for change, want := range map[string]string{
		"echo more >>docs/a.md; echo more >>README.md": "code=false\n",
		"echo more >>apps/main.go":                     "code=true\n",
		"git mv apps/main.go docs/main.go":             "code=true\n",
		"git rm -q apps/main.go":                       "code=true\n",
		"echo more >apps/README.md":                    "code=true\n",
	} {
		run := repository(t)
		printed, err := run("git init -q && mkdir apps docs && echo 'package main' | tee apps/main.go >docs/a.md && cp docs/a.md README.md && git add . && git commit -qm base && git tag base && " +
			change + " && git add . && git commit -qm change")
		if err != nil {
			t.Fatalf("%s: %v: %s", change, err, printed)
		}
		if printed, err := run(scope+"\ncat out", "BASE=base", "GITHUB_OUTPUT=out"); err != nil || printed != want {
			t.Errorf("%s: %q (%v), want %q", change, printed, err, want)
		}
		if printed, err := run(scope, "BASE=unknown", "GITHUB_OUTPUT=out"); err == nil {
			t.Errorf("without the base, it succeeds: %s", printed)
		}
	}
}

func TestRepeatedRunsReleaseNoOlderSources(t *testing.T) {
	run := repository(t)
	printed, err := run(`git init -q --initial-branch main
		for version in 1 2 3; do git commit -q --allow-empty -m $version; git tag v$version; git tag same$version; done
		git checkout -q -b side v1; git commit -q --allow-empty -m side; git tag v1-side
		git update-ref refs/remotes/origin/main main`)
	if err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	for _, test := range []struct{ commit, command, attempt, want string }{
		{"v3", "tag", "1", ""},
		{"v2", "tag", "1", "is older than v3: "},
		{"v1", "tag", "2", "is older than v1-side, v2, v3: "},
		{"v1-side", "tag", "1", ""},
		{"v3", "branch", "2", ""},
		{"v2", "branch", "1", ""},
		{"v2", "branch", "2", " is older than "},
	} {
		printed, err := run("git checkout -q "+test.commit+" && newest "+test.command, "GITHUB_RUN_ATTEMPT="+test.attempt, "GITHUB_REF_NAME=main")
		if (err == nil) != (test.want == "") || !strings.Contains(printed, test.want) {
			t.Errorf("%+v: %v, %s", test, err, printed)
		}
	}
}

func TestAPasswordNeedsItsRegistry(t *testing.T) {
	printed, err := script(t, t.TempDir(), []string{"KUBE_CONFIG=x", "PULUMI_ACCESS_TOKEN=x", "REGISTRY_USER=x", "REGISTRY_PASSWORD=x", "REGISTRY="}, "connect")
	if err == nil || !strings.Contains(printed, "missing secret REGISTRY: ") {
		t.Errorf("%v: %s", err, printed)
	}
}

// script runs a script of the workflows in a folder, and returns what it prints.
func script(t *testing.T, folder string, environment []string, name string, args ...string) (string, error) {
	t.Helper()
	path, err := filepath.Abs("../../.github/scripts/" + name)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, args...)
	command.Dir, command.Env = folder, append(os.Environ(), environment...)
	printed, err := command.CombinedOutput()
	return string(printed), err
}

func TestPublishedReleaseHasTheFiguresAndTheFiles(t *testing.T) {
	checkout, folder := t.TempDir(), t.TempDir()
	for file, text := range map[string]string{
		checkout + "/CHANGELOG.md": "## 1.2.0 - 2026-03-14\n\nThe notes.\n\n## 1.1.0\n\nOlder.\n",
		folder + "/notes.txt":      "{}",
		folder + "/20260314T092653Z-release.json": `{"outcome": "released", "began": "2026-03-14T09:26:53.5Z", "traffic": {"requests": 2413.4, "failed": 0.2, "p95_ms": 14.4},
			"services": [{"name": "a", "switched": "2026-03-14T09:27:34.6Z", "last_old": "2026-03-14T09:27:35.026Z"},
				{"name": "b", "switched": "2026-03-14T11:27:34+02:00", "last_old": "2026-03-14T09:27:34.1Z"}, {"name": "c"}]}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, known := range map[string]bool{"a new release": false, "an existing release": true} {
		t.Run(name, func(t *testing.T) {
			var notes string
			var requests []string
			var server *httptest.Server
			server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				content, _ := io.ReadAll(r.Body)
				requests = append(requests, r.Method+" "+r.URL.String())
				var sent struct{ Body string }
				answer := map[string]any{"url": server.URL + "/release", "upload_url": server.URL + "/assets{?name,label}"}
				switch {
				case r.Header.Get("Authorization") != "Bearer job-token":
					w.WriteHeader(http.StatusUnauthorized)
					return
				case r.Method == http.MethodGet && !known:
					w.WriteHeader(http.StatusNotFound)
					return
				case r.URL.Path == "/assets" && r.URL.Query().Get("name") == "notes.txt" && string(content) != "{}":
					t.Errorf("the file has the content %q", content)
				case r.Method == http.MethodPatch:
					answer["assets"] = []any{map[string]any{"name": "notes.txt", "url": server.URL + "/former"}}
					fallthrough
				case r.URL.Path == "/repos/shop/platform/releases":
					if err := json.Unmarshal(content, &sent); err != nil {
						t.Error(err)
					}
					notes = sent.Body
				}
				_ = json.NewEncoder(w).Encode(answer)
			}))
			defer server.Close()
			printed, err := script(t, checkout, []string{"GITHUB_TOKEN=job-token", "GITHUB_API_URL=" + server.URL, "GITHUB_REPOSITORY=shop/platform", "GITHUB_REF_NAME=v1.2.0"},
				"publish", folder)
			if err != nil {
				t.Fatalf("%v: %s", err, printed)
			}
			want := []string{"GET /repos/shop/platform/releases/tags/v1.2.0", "POST /repos/shop/platform/releases",
				"POST /assets?name=20260314T092653Z-release.json", "POST /assets?name=notes.txt"}
			if known {
				want = []string{want[0], "PATCH /release", want[2], "DELETE /former", want[3]}
			}
			if !slices.Equal(requests, want) {
				t.Errorf("the requests are %q, want %q", requests, want)
			}
			const table = "\nThe notes.\n\n### Release to production\n\n| figure | value |\n|---|---|\n| deployment time, from the command to the last switch | 41 s |\n" +
				"| last response of the former versions, after the switch | 426 ms |\n| rollback | not needed |\n| lost requests | 0 of 2413 |\n| p95 response time | 14 ms |"
			if strings.TrimRight(notes, "\n") != table {
				t.Errorf("the notes are\n%s\nwant\n%s", notes, table)
			}
		})
	}
	if printed, err := script(t, checkout, []string{"GITHUB_REF_NAME=v1.3.0"}, "publish", folder); err == nil || !strings.Contains(printed, `no section "## 1.3.0"`) {
		t.Errorf("without notes: %v, %s", err, printed)
	}
}

func TestCommentIsUpdatedUnlessAUserWroteIt(t *testing.T) {
	const marker = "<!-- preview of the platform -->\n"
	for name, test := range map[string]struct {
		comments string
		text     string
		want     string
	}{
		"no comment":       {`[]`, "text", "POST /repos/shop/platform/issues/7/comments"},
		"another's":        {`[{"url": "URL/1", "user": {"type": "User"}, "body": "<!-- preview of the platform -->"}]`, "text", "POST /repos/shop/platform/issues/7/comments"},
		"its own":          {`[{"url": "URL/1", "user": {"type": "Bot"}, "body": "other"}, {"url": "URL/2", "user": {"type": "Bot"}, "body": "<!-- preview of the platform -->"}]`, "text", "PATCH /2"},
		"a second page":    {"[" + strings.Repeat(`{"url": "URL/1", "user": {"type": "Bot"}, "body": "other"},`, 99) + `{"url": "URL/1", "user": {"type": "User"}, "body": "other"}]`, "text", "PATCH /101"},
		"a very long text": {`[]`, strings.Repeat("ä", 100_000), "POST /repos/shop/platform/issues/7/comments"},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			var sent struct{ Body string }
			var server *httptest.Server
			server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					listed := test.comments
					if r.URL.Query().Get("page") == "2" {
						listed = `[{"url": "URL/101", "user": {"type": "Bot"}, "body": "<!-- preview of the platform -->"}]`
					}
					_, _ = io.WriteString(w, strings.ReplaceAll(listed, "URL", server.URL))
					return
				}
				got = r.Method + " " + r.URL.Path
				if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			folder := t.TempDir()
			if err := os.WriteFile(folder+"/preview.md", []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			printed, err := script(t, folder, []string{"GITHUB_TOKEN=job-token", "GITHUB_API_URL=" + server.URL, "GITHUB_REPOSITORY=shop/platform",
				"PULL_REQUEST=7", "GITHUB_STEP_SUMMARY=" + folder + "/summary"}, "comment", folder+"/preview.md")
			if err != nil || got != test.want {
				t.Errorf("it requests %q, want %q (%v: %s)", got, test.want, err, printed)
			}
			long := len([]rune(sent.Body))
			if !strings.HasPrefix(sent.Body, marker) || long > 65_536 || len(test.text) < 1000 != strings.HasSuffix(sent.Body, "-->\n"+test.text) ||
				len(test.text) > 1000 != strings.Contains(sent.Body, "The end is missing here") {
				t.Errorf("the comment has %d characters: %.200s", long, sent.Body)
			}
			if summary, _ := os.ReadFile(folder + "/summary"); string(summary) != test.text {
				t.Errorf("the summary is %.200s", summary)
			}
		})
	}
}
