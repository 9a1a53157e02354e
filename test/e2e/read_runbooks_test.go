package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

const runbooks = "docs/runbooks"

var fence = regexp.MustCompile("(?s)```(sh|promql)\n(.*?)```")

// Every command and every query under Diagnosis must work.
func TestDiagnosisOfEveryRunbookWorks(t *testing.T) {
	helpers := shellHelpers(t)
	for _, file := range runbookPages(t) {
		diagnosis, _ := sections(t, file)
		for _, block := range fence.FindAllStringSubmatch(diagnosis, -1) {
			if block[1] == "promql" {
				if _, err := kit.Query(block[2]); err != nil {
					t.Errorf("%s: %s: %v", file, strings.TrimSpace(block[2]), err)
				}
				continue
			}
			for command := range strings.Lines(block[2]) {
				if assignment.MatchString(command) {
					helpers += command // later commands use the variable
					continue
				}
				err := kit.Within(2*time.Minute, func() error { // new pods have no metrics yet
					printed, err := kit.Run("bash", "-o", "pipefail", "-c", helpers+command)
					if err != nil {
						return fmt.Errorf("%s\n%s", strings.ReplaceAll(err.Error(), helpers, ""), printed)
					}
					return nil
				})
				if err != nil {
					t.Errorf("%s: %s: %v", file, strings.TrimSpace(command), err)
				}
			}
		}
	}
}

var assignment = regexp.MustCompile(`^[A-Z]+=`)

// A command in the text of a runbook is run by this test if it only reads, and by another test if it changes something.
func TestEveryCommandOfARunbookIsRun(t *testing.T) {
	t.Setenv("CURL_CA_BUNDLE", filepath.Join("bin", "ca.pem"))
	primary, err := kit.Primary()
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("<stack>", "local", "<edge.host>", kit.EdgeAddress(),
		"<namespace> job/<job>", "data job/"+jobOfPostgres(t),
		"<namespace> deployment/<name>", "apps deployment/"+kit.LiveDeployment(t, "order-service"),
		"<namespace> <pod>", "data "+primary.Metadata.Name)
	tests, seen := declaredTests(t), map[string]bool{}
	for _, file := range runbookPages(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		_, mitigation := sections(t, file)
		if test, has := blockTests[name], fence.MatchString(mitigation); has != tests[test] {
			t.Errorf("%s: blocks of commands under Mitigation: %t, and the test that runs them is %q", file, has, test)
		}
		for _, command := range inText(content(t, file)) {
			if seen[command] {
				continue
			}
			seen[command] = true
			switch {
			case changes(command):
			case commandTests[command] != "":
				if !tests[commandTests[command]] {
					t.Errorf("%s: no test is called %s, which runs %s", file, commandTests[command], command)
				}
			case elsewhere[command] != "":
			case reading.MatchString(command):
				t.Run(name, func(t *testing.T) { shell(t, here.Replace(command)) })
			default:
				t.Errorf("%s: no test runs %s: add it to remedies", file, command)
			}
		}
		if colour := regexp.MustCompile(`\b(?:blue|green)\b`).FindString(content(t, file)); colour != "" {
			t.Errorf("%s names the colour %s, but either colour may be live", file, colour)
		}
	}
	for _, remedy := range remedies() {
		if !seen[remedy.command] {
			t.Errorf("no runbook has the command %s", remedy.command)
		}
	}
	for _, listed := range []map[string]string{commandTests, elsewhere} {
		for command := range listed {
			if !seen[command] {
				t.Errorf("no runbook has the command %s", command)
			}
		}
	}
}

// reading matches commands that change nothing.
var reading = regexp.MustCompile(`^(?:kubectl (?:get|describe|logs|rollout status) |make (?:status$|releases |logs )|pulumi stack output |curl |df |du |dmesg$|` +
	`in_postgres postgres "SELECT 1"|in_redis \S+ PING$)`)

// blockTests maps a runbook to the test that runs its blocks of commands under Mitigation.
var blockTests = map[string]string{
	"DeadLetters":   "TestDeadLettersRunbookHandlesEventsAgain",
	"VolumeFull":    "TestVolumeFullRunbookExpandsTheVolume",
	"VolumeLost":    "TestVolumeLostRunbookReplacesVolumes",
	"WebhookGaveUp": "TestWebhookGaveUpRunbookRetriesDeliveries",
}

// commandTests maps a command in the text of a runbook to the test that runs it, besides those of remedies.
var commandTests = map[string]string{
	"make release V=<version> STACK=<stack>": "TestReleaseRetiresThePreviousVersion",
	"make retire STACK=<stack>":              "TestReleaseRetiresThePreviousVersion",
	"make rollback STACK=<stack>":            "TestReleaseOfAllServicesAndTheirRollbackLoseNothing",
	"make up":                                "TestLifecycle",
	"pulumi up --stack <stack>":              "TestVolumeFullRunbookExpandsTheVolume",
}

// elsewhere maps a command to the reason why no test of the local platform runs it.
var elsewhere = map[string]string{
	"crictl rmi --prune":        "the node has no crictl",
	"dig +short <edge.host>":    "localhost has no record in the DNS",
	"etcdctl defrag":            "the node has no etcdctl",
	"kubeadm certs renew all":   "the node wasn't created by kubeadm",
	"make check":                "make test runs it",
	"systemctl restart chronyd": "the clock belongs to the machine",
	"systemctl restart kubelet": "the supervisor of the node runs the kubelet",
	"kubectl describe certificate -n edge edge-certificate": "the cluster has no cert-manager; TestRenderedManifests checks its name",
}

// program matches the beginning of a command.
var program = regexp.MustCompile(`^(?:kubectl|make|pulumi|in_postgres|in_redis|curl|dig|df|du|dmesg|crictl|etcdctl|kubeadm|systemctl|SELECT|VACUUM)\b`)

var inlineCode = regexp.MustCompile("(?m)`([^`]+)`|^    (\\S.*)$")

// inText returns the commands in a runbook outside of its blocks of commands.
func inText(text string) []string {
	var commands []string
	for _, match := range inlineCode.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		command, _, _ := strings.Cut(strings.Join(strings.Fields(match[1]+match[2]), " "), " # ")
		if program.MatchString(command) {
			commands = append(commands, command)
		}
	}
	return commands
}

// runbookPages returns the files of all runbooks.
func runbookPages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(runbooks + "/[A-Z]*.md")
	if err != nil || len(files) < 40 {
		t.Fatalf("there are %d runbooks: %v", len(files), err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == "README.md" })
}

// sections returns the sections Diagnosis and Mitigation of a runbook.
func sections(t *testing.T, file string) (diagnosis, mitigation string) {
	t.Helper()
	_, diagnosis, found := strings.Cut(content(t, file), "\n## Diagnosis\n")
	diagnosis, mitigation, ended := strings.Cut(diagnosis, "\n## Mitigation\n")
	if !found || !ended {
		t.Errorf("%s: has no sections Diagnosis and Mitigation", file)
	}
	return diagnosis, mitigation
}

// blocks returns the blocks of commands under Mitigation of a runbook.
func blocks(t *testing.T, runbook string) (commands []string) {
	t.Helper()
	_, mitigation := sections(t, runbooks+"/"+runbook+".md")
	for _, block := range fence.FindAllStringSubmatch(mitigation, -1) {
		commands = append(commands, block[2])
	}
	if len(commands) == 0 {
		t.Fatalf("the runbook %s has no commands under Mitigation", runbook)
	}
	return commands
}

// declaredTests returns the names of the tests of the platform.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	declared, names := regexp.MustCompile(`(?m)^func (Test\w+)\(`), map[string]bool{}
	err := filepath.WalkDir("test", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, match := range declared.FindAllStringSubmatch(content(t, path), -1) {
				names[match[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// jobOfPostgres returns the name of the Job that sets up Postgres.
func jobOfPostgres(t *testing.T) string {
	t.Helper()
	return kit.Output(t, "kubectl", "get", "jobs", "--namespace=data", "--selector=app.kubernetes.io/name=postgres-setup", "--output=jsonpath={.items[0].metadata.name}")
}

var placeholder = regexp.MustCompile(`<[a-z][a-z.-]*>`)

// shell runs a command of a runbook in a shell with the functions of the runbooks, and returns the command's output.
func shell(t *testing.T, command string) string {
	t.Helper()
	if left := placeholder.FindString(command); left != "" {
		t.Fatalf("%s: the test has no value for %s", command, left)
	}
	printed, err := kit.Run("bash", "-o", "pipefail", "-c", shellHelpers(t)+command)
	if err != nil {
		t.Fatalf("%s: %s\n%s", command, strings.ReplaceAll(err.Error(), shellHelpers(t), ""), printed)
	}
	return strings.TrimSpace(printed)
}

// shellHelpers returns the shell functions that the runbooks use.
func shellHelpers(t *testing.T) string {
	t.Helper()
	block := fence.FindStringSubmatch(content(t, runbooks+"/README.md"))
	if block == nil {
		t.Fatal("the README of the runbooks has no functions")
	}
	return block[2]
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
