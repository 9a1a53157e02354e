package image

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"platform.example/infra/catalog"
)

// project writes an apps module with one service.
func project(t *testing.T, source string) (root string) {
	t.Helper()
	root = t.TempDir()
	for path, content := range map[string]string{
		"apps/go.mod":          "module example.com/apps\n\ngo 1.26\n",
		"apps/Dockerfile":      "FROM scratch\nCOPY app /app\n",
		"apps/greeter/main.go": source,
	} {
		write(t, filepath.Join(root, path), content)
	}
	return root
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const greeter = "package main\n\nfunc main() { println(\"hello\") }\n"

var services = []catalog.Service{{Name: "greeter"}}

func versionIn(t *testing.T, root string) string {
	t.Helper()
	found, err := versions(t.Context(), root, services, []string{"amd64"})
	if err != nil {
		t.Fatal(err)
	}
	return found["greeter"]
}

func TestVersionIsTheHashOfTheContent(t *testing.T) {
	root := project(t, greeter)
	first := versionIn(t, root)
	if !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(first) {
		t.Fatalf("version %q is not 12 hexadecimal digits", first)
	}
	if again := versionIn(t, root); again != first {
		t.Errorf("the version of the same source went from %s to %s", first, again)
	}
	if elsewhere := versionIn(t, project(t, greeter)); elsewhere != first {
		t.Errorf("the version depends on the folder: %s and %s", first, elsewhere)
	}
	write(t, filepath.Join(root, "apps/Dockerfile"), "FROM scratch\nCOPY app /app\nUSER 65532\n")
	if other := versionIn(t, root); other == first {
		t.Error("another Dockerfile has the same version")
	}
	if other := versionIn(t, project(t, strings.Replace(greeter, "hello", "bye", 1))); other == first {
		t.Error("another source has the same version")
	}
}

func TestCompileErrorHasTheCompilersMessage(t *testing.T) {
	root := project(t, "package main\n\nfunc main() { undefinedThing() }\n")
	_, err := versions(t.Context(), root, services, []string{"amd64"})
	if err == nil || !strings.Contains(err.Error(), "main.go:3:15: undefined: undefinedThing") {
		t.Errorf("got %v", err)
	}
}

func TestAServiceWithoutAFolder(t *testing.T) {
	_, err := versions(t.Context(), project(t, greeter), append(services, catalog.Service{Name: "absent"}), []string{"amd64"})
	if err == nil || !strings.Contains(err.Error(), "apps/absent: directory not found") {
		t.Errorf("got %v", err)
	}
}

func TestBuildContextHasOnlyTheBinary(t *testing.T) {
	root := project(t, greeter)
	versionIn(t, root)
	write(t, filepath.Join(root, "apps/greeter/main.go"), strings.Replace(greeter, "hello", "bye", 1))
	versionIn(t, root)
	binary, err := os.ReadFile(filepath.Join(binariesOf(root, ""), "greeter"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(contextOf(root, "greeter"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	placed, err := os.ReadFile(filepath.Join(contextOf(root, "greeter"), "app"))
	if err != nil || !bytes.Equal(placed, binary) {
		t.Errorf("the context holds another binary than the one compiled last: %v", err)
	}
}
