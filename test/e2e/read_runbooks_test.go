package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	files, err := filepath.Glob(runbooks + "/[A-Z]*.md")
	if err != nil || len(files) < 40 {
		t.Fatalf("there are %d runbooks: %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == "README.md" {
			continue
		}
		_, diagnosis, found := strings.Cut(content(t, file), "\n## Diagnosis\n")
		diagnosis, _, ended := strings.Cut(diagnosis, "\n## Mitigation\n")
		if !found || !ended {
			t.Errorf("%s: has no sections Diagnosis and Mitigation", file)
		}
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
