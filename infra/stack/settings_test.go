package stack

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"platform.example/infra/catalog"
)

// settingsPage is the reference of all settings. Its meanings and examples are written by hand, the rest comes from the code.
const settingsPage = "../../docs/settings.md"

// row is a setting or a secret on the page.
type row struct{ meaning, example string }

// TestTheSettingsPageIsComplete compares docs/settings.md with the code. UPDATE=1 rewrites the page; a new setting then
// needs its meaning and its example.
func TestTheSettingsPageIsComplete(t *testing.T) {
	page, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	written := rowsOf(string(page))
	services := catalog.Services()
	var stack Stack
	var settings, secrets strings.Builder
	for _, setting := range stack.settings(services) {
		row := written[setting.path]
		if row.meaning == "" {
			t.Errorf("%s has no meaning", setting.path)
		}
		if setting.entries == nil && !strings.HasPrefix(row.example, "-----BEGIN") {
			if err := setting.read(row.example); err != nil {
				t.Errorf("the example of %s is not valid: %v", setting.path, err)
			}
		}
		fmt.Fprintf(&settings, "| `%s` | %s | %s | %s | `%s` |\n", setting.path, row.meaning, setting.want, defaultsText(setting.unset), row.example)
	}
	for _, secret := range append(catalog.Secrets(services, true), catalog.GivenSecrets(false)...) {
		row := written[secret.Name]
		if row.meaning == "" {
			t.Errorf("the secret %s has no meaning", secret.Name)
		}
		source := "generated"
		if secret.Kind == catalog.Given {
			source = "set by you"
		}
		fmt.Fprintf(&secrets, "| `%s` | %s | %s |\n", secret.Name, row.meaning, source)
	}
	want := replaceTable(t, string(page), "| setting |", settings.String())
	want = replaceTable(t, want, "| secret |", secrets.String())
	if want == string(page) {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatal("docs/settings.md differs from the settings in the code: run this test with UPDATE=1, then fill in what is missing")
	}
	if err := os.WriteFile(settingsPage, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rowsOf reads the meanings and the examples by name.
func rowsOf(page string) map[string]row {
	rows := map[string]row{}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) < 3 {
			continue
		}
		name := strings.Trim(cells[0], " `")
		rows[name] = row{strings.TrimSpace(cells[1]), strings.Trim(cells[len(cells)-1], " `")}
	}
	return rows
}

// replaceTable returns the page with other rows in the table whose header starts so.
func replaceTable(t *testing.T, page, header, rows string) string {
	t.Helper()
	start := strings.Index(page, header)
	if start < 0 {
		t.Fatalf("the page has no table that starts with %q", header)
	}
	head := strings.Join(strings.SplitAfterN(page[start:], "\n", 3)[:2], "")
	rest := strings.TrimPrefix(page[start:], head)
	for strings.HasPrefix(rest, "|") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return page[:start] + head + rows + rest
}

// defaultsText is the default of each environment, or one for all.
func defaultsText(d defaults) string {
	text := func(value string) string {
		if value == "" {
			return "unset"
		}
		return "`" + value + "`"
	}
	if d.local == d.staging && d.staging == d.production {
		return text(d.local)
	}
	return strings.Join([]string{text(d.local), text(d.staging), text(d.production)}, " / ")
}
