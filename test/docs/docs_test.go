// Package docs checks the documentation: the pages name only targets, variables, files, tests and settings that exist.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// pages returns the text of each page of the documentation by its path from the repository's root. The changelog isn't among them, because
// it also names what earlier versions had.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no page matches %s: %v", pattern, err)
		}
		for _, file := range files {
			texts[strings.TrimPrefix(file, root+"/")] = read(t, file)
		}
	}
	return texts
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var codeInPage = regexp.MustCompile("(?ms)^ *```\\w*\n(.*?)^ *```|`([^`]+)`|^    ([^\n]*)")

// codeOf returns the code blocks and the inline code of a page.
func codeOf(page string) []string {
	var code []string
	for _, match := range codeInPage.FindAllStringSubmatch(page, -1) {
		if inline := match[2]; inline != "" {
			code = append(code, strings.Join(strings.Fields(inline), " "))
		} else {
			code = append(code, match[1]+match[3])
		}
	}
	return code
}

// Tests that a page of the documentation names exist.
func TestDocsNameExistingTests(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, name := range declared.FindAllStringSubmatch(read(t, path), -1) {
			tests[name[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`")
	for page, text := range pages(t) {
		for _, name := range named.FindAllStringSubmatch(text, -1) {
			if !tests[name[1]] {
				t.Errorf("%s: no test is called %s", page, name[1])
			}
		}
	}
}

// Files and sections that a page links to exist, and so do paths in its code, such as `infra/catalog/services.go`.
func TestDocsNameExistingFiles(t *testing.T) {
	var (
		link    = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^):]*))?\)`)
		path    = regexp.MustCompile(`^(?:apps|docs|infra|local|test)/[\w./*-]+$`)
		heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
		unsafe  = regexp.MustCompile(`[^a-z0-9 _-]`)
		all     = pages(t)
	)
	for page, text := range all {
		for _, target := range link.FindAllStringSubmatch(text, -1) {
			file, section := filepath.Join(filepath.Dir(page), target[1]), target[2]
			if target[1] == "" {
				file = page
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
			if section != "" && !slices.ContainsFunc(heading.FindAllStringSubmatch(all[file], -1), func(h []string) bool {
				return strings.ReplaceAll(unsafe.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == section
			}) {
				t.Errorf("%s: %s has no section %s", page, file, section)
			}
		}
		for _, code := range codeOf(text) {
			if !path.MatchString(code) {
				continue
			}
			if found, err := filepath.Glob(filepath.Join(root, code)); err != nil || len(found) == 0 {
				t.Errorf("%s: %s does not exist (%v)", page, code, err)
			}
		}
	}
}

// targets returns the variables that each target of the Makefile reads, by the name of the target.
func targets(t *testing.T) map[string]map[string]bool {
	t.Helper()
	var (
		rule     = regexp.MustCompile(`^([a-z0-9/-]+):([^=].*)?$`)
		variable = regexp.MustCompile(`^(?:export )?([A-Z_]+) *:?= *(.*)$`)
		used     = regexp.MustCompile(`\$\((?:call |value )?([A-Z_]+)\b`)
		called   = regexp.MustCompile(`\$\(MAKE\) (?:bin/)?([a-z-]+)`)
		texts    = map[string]string{} // of each target and variable
		current  string
		names    []string
	)
	for line := range strings.Lines(strings.ReplaceAll(read(t, root+"/Makefile"), "\\\n", " ")) {
		line = strings.TrimSuffix(line, "\n")
		if match := rule.FindStringSubmatch(line); match != nil {
			current = match[1]
			names = append(names, current)
			prerequisites, _, _ := strings.Cut(match[2], "##")
			for _, name := range strings.Fields(prerequisites) {
				texts[current] += "$(MAKE) " + name + "\n"
			}
			texts[current] += prerequisites + "\n"
		} else if match := variable.FindStringSubmatch(line); match != nil {
			texts[match[1]] = match[2]
		} else if strings.HasPrefix(line, "\t") {
			texts[current] += line + "\n"
		}
	}
	reads := map[string]map[string]bool{}
	for _, target := range names {
		found := map[string]bool{}
		var visit func(name string)
		visit = func(name string) {
			if found[name] {
				return
			}
			found[name] = true
			for _, match := range append(used.FindAllStringSubmatch(texts[name], -1), called.FindAllStringSubmatch(texts[name], -1)...) {
				visit(match[1])
			}
		}
		visit(target)
		reads[target] = found
	}
	return reads
}

var assignment = regexp.MustCompile(`\b([A-Z][A-Z_]+)=`)

var makeCommand = regexp.MustCompile(`(?m)(?:^|[\s"(;&|])make(?: -s)? ([a-z][a-z0-9-]*)((?: [A-Z_]+=(?:<[^>]*>|\S*))*)`)

// Commands in the documentation call targets of the Makefile, with variables that the target reads.
func TestDocsNameExistingTargets(t *testing.T) {
	reads, count := targets(t), 0
	for page, text := range pages(t) {
		for _, code := range codeOf(text) {
			for _, match := range makeCommand.FindAllStringSubmatch(code, -1) {
				count++
				target := match[1]
				if reads[target] == nil {
					t.Errorf("%s: the Makefile has no target %s", page, target)
				}
				for _, name := range assignment.FindAllStringSubmatch(match[2], -1) {
					if !reads[target][name[1]] {
						t.Errorf("%s: make %s does not read %s", page, target, name[1])
					}
				}
			}
		}
	}
	if count < 100 {
		t.Errorf("found only %d commands", count)
	}
}

// Each target that the documentation names is run: by TestLifecycle, which runs the commands of the README, by a workflow, by
// make test-all, or by a test of the platform, which calls make or the subcommand of bin/release.
func TestDocumentedTargetsAreRun(t *testing.T) {
	reads, run := targets(t), map[string]bool{}
	run["fmt"], run["screens"] = true, true // by developers: they change the sources and the pictures in docs
	run["pin"] = true                       // by developers: it needs the internet; TestPinRenewsTheChecksums runs its script
	run["redrive"] = true                   // by TestDeadLettersRunbookHandlesEventsAgain, which reads the command from the runbook
	add := func(target string) {
		run[target] = true
		for called := range reads[target] {
			run[called] = true
		}
	}
	for _, tier := range strings.Fields(regexp.MustCompile(`(?m)^TIERS := (.*)$`).FindStringSubmatch(read(t, root+"/Makefile"))[1]) {
		add(tier)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(read(t, root+"/README.md"), -1) {
		for _, match := range makeCommand.FindAllStringSubmatch(block[1], -1) {
			add(match[1])
		}
	}
	for pattern, call := range map[string]*regexp.Regexp{
		".ci/run":                 makeCommand,
		".github/workflows/*.yml": makeCommand,
		"test/*/*.go":             regexp.MustCompile(`(?:"make"[^)\n]*|release\(t, [\w.]+), "([a-z-]+)"`),
	} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no file matches %s: %v", pattern, err)
		}
		for _, file := range files {
			for _, match := range call.FindAllStringSubmatch(read(t, file), -1) {
				add(match[1])
			}
		}
	}
	for page, text := range pages(t) {
		for _, code := range codeOf(text) {
			for _, match := range makeCommand.FindAllStringSubmatch(code, -1) {
				if !run[match[1]] {
					t.Errorf("%s: nothing runs make %s: add it to a test, or to the commands of the README", page, match[1])
				}
			}
		}
	}
}

// The description of a target names only variables that the target reads.
func TestTargetsReadTheVariablesThatTheyDescribe(t *testing.T) {
	reads := targets(t)
	described := regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## (.*)$`)
	for _, match := range described.FindAllStringSubmatch(read(t, root+"/Makefile"), -1) {
		for _, name := range assignment.FindAllStringSubmatch(match[2], -1) {
			if !reads[match[1]][name[1]] {
				t.Errorf("make %s does not read %s", match[1], name[1])
			}
		}
	}
}

// Settings and secrets in the documentation are listed in docs/settings.md, which has all of them.
func TestDocsNameExistingSettings(t *testing.T) {
	listed := map[string]bool{}
	groups := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, root+"/docs/settings.md"), -1) {
		listed[match[1]] = true
		for name := match[1]; strings.Contains(name, "."); {
			name = name[:strings.LastIndex(name, ".")]
			groups[name] = true
		}
	}
	var (
		inCommand = regexp.MustCompile(`(?:^|\s)platform:([\w.-]+)`)
		alone     = regexp.MustCompile(`^([a-z]\w*)\.[a-z][\w.-]*$`)
		file      = regexp.MustCompile(`\.(go|ya?ml|md|json|sql|sh|pem|key|pub)$`)
	)
	for page, text := range pages(t) {
		for _, code := range codeOf(text) {
			names := inCommand.FindAllStringSubmatch(code, -1)
			if match := alone.FindStringSubmatch(code); match != nil && groups[match[1]] && !file.MatchString(code) {
				names = append(names, []string{code, code})
			}
			for _, name := range names {
				if !listed[name[1]] && !groups[name[1]] {
					t.Errorf("%s: there is no setting or secret %s", page, name[1])
				}
			}
		}
	}
}
