package rule

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"

	"platform.example/infra/catalog"
)

const repository = "../../.."

var runbookSections = []string{"## Impact", "## Diagnosis", "## Mitigation", "## Alert condition"}

// situations are the runbooks without an alert of their own, to which the runbooks of other alerts lead.
var situations = []string{"VolumeLost"}

// severitiesByRunbook is the severities of each alert in the format of the index, and none for a situation.
func severitiesByRunbook() map[string]string {
	found := map[string][]string{}
	for _, group := range Groups(catalog.Services(), options()) {
		for _, alert := range group.Alerts {
			if !slices.Contains(found[alert.Name], string(alert.Severity)) {
				found[alert.Name] = append(found[alert.Name], string(alert.Severity))
			}
		}
	}
	texts := map[string]string{}
	for name, severities := range found {
		slices.Sort(severities)
		texts[name] = strings.Join(severities, " or ")
	}
	for _, name := range situations {
		texts[name] = "none"
	}
	return texts
}

func TestAlertsHaveRunbooks(t *testing.T) {
	alerts := severitiesByRunbook()
	for name := range alerts {
		text, err := os.ReadFile(filepath.Join(repository, runbook("", name)))
		if err != nil {
			t.Errorf("%s has no runbook: %v", name, err)
			continue
		}
		for _, problem := range troubles(name, string(text)) {
			t.Errorf("%s:%s", runbook("", name), problem)
		}
	}
	files, err := filepath.Glob(filepath.Join(repository, runbookFolder, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		if _, ok := alerts[name]; !ok && name != "README" {
			t.Errorf("%s/%s.md: there is no such alert", runbookFolder, name)
		}
	}
}

func TestRunbookIndex(t *testing.T) {
	index := runbookFolder + "/README.md"
	text, err := os.ReadFile(filepath.Join(repository, index))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| \[(\w+)\]\((\w+)\.md\) \| ([^|]+) \| .+ \|$`)
	named := map[string]string{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		if _, twice := named[match[1]]; twice || match[1] != match[2] {
			t.Errorf("%s: %s: duplicate, or with another link", index, match[1])
		}
		named[match[1]] = match[3]
	}
	for name, severity := range severitiesByRunbook() {
		if named[name] != severity {
			t.Errorf("%s: %s has severity %q, want %q", index, name, named[name], severity)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("%s: %s: there is no such alert", index, name)
	}
}

func TestTroubles(t *testing.T) {
	good := "# A\n\nA summary.\n\n## Impact\n\nx\n\n## Diagnosis\n\n```promql\nup == 0\n```\n\n## Mitigation\n\n`make secrets STACK=x`\n\n## Alert condition\n\nx\n"
	if found := troubles("A", good); len(found) != 0 {
		t.Fatalf("a good one has %q", found)
	}
	for replaced, want := range map[[2]string]string{
		{"# A\n", "# B\n"}:                  "1: ",
		{"## Mitigation\n", "## Repair\n"}:  "there is no",
		{"\n\n## Mitigation", "\n"}:         "there is no",
		{"up == 0", "up =="}:                "11: ",
		{"make secrets", "make it"}:         "17: ",
		{"condition\n\nx\n", "condition\n"}: "is empty",
	} {
		text := strings.Replace(good, replaced[0], replaced[1], 1)
		if found := troubles("A", text); !slices.ContainsFunc(found, func(fault string) bool { return strings.Contains(fault, want) }) {
			t.Errorf("%q for %q: %q, want %q", replaced[1], replaced[0], found, want)
		}
	}
}

// troubles returns the faults of a runbook with their lines.
func troubles(name, text string) []string {
	var found []string
	at := func(offset int, format string, words ...any) {
		found = append(found, fmt.Sprintf("%d: %s", 1+strings.Count(text[:offset], "\n"), fmt.Sprintf(format, words...)))
	}
	if !strings.HasPrefix(text, "# "+name+"\n\n") {
		at(0, "want the heading %q", "# "+name)
	}
	end := 0
	for i, section := range runbookSections {
		start := strings.Index(text[end:], "\n"+section+"\n")
		if start < 0 {
			at(end, "there is no %q after here", section)
			return found
		}
		start += end + len(section) + 2
		end = len(text)
		if i+1 < len(runbookSections) {
			if next := strings.Index(text[start:], "\n"+runbookSections[i+1]+"\n"); next >= 0 {
				end = start + next
			}
		}
		if strings.TrimSpace(text[start:end]) == "" {
			at(start, "%q is empty", section)
		}
	}
	for _, match := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatchIndex(text, -1) {
		if _, err := parser.ParseExpr(text[match[2]:match[3]]); err != nil {
			at(match[0], "%v", err)
		}
	}
	for _, match := range regexp.MustCompile("(?:`|\n)make ([a-z-]+)").FindAllStringSubmatchIndex(text, -1) {
		if target := text[match[2]:match[3]]; !slices.Contains(makeTargets(), target) {
			at(match[2], "the Makefile has no target %s", target)
		}
	}
	return found
}

func makeTargets() []string {
	text, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	if err != nil {
		panic(err)
	}
	var targets []string
	for _, match := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(text), -1) {
		targets = append(targets, match[1])
	}
	return targets
}
