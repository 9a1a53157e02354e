package smoke

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"platform.example/test/kit"
)

// search finds values by name. It reports names, never values.
type search struct{ needles map[string][][]byte }

// newSearch searches for the values in plain text and in base64.
func newSearch(values map[string]string) search {
	s := search{map[string][][]byte{}}
	for name, value := range values {
		s.needles[name] = append(inBase64(value), []byte(value))
	}
	return s
}

// inBase64 returns the parts of a value that are the same in base64 wherever the value is in the encoded text: they depend on its
// offset from a multiple of three.
func inBase64(value string) [][]byte {
	var encoded [][]byte
	for offset := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), value...))
		first := (offset*8 + 5) / 6           // first character without bits of the preceding text
		last := (offset + len(value)) * 8 / 6 // last character without bits of the following text
		encoded = append(encoded, []byte(text[first:last]))
	}
	return encoded
}

// in returns the names of the values in the content.
func (s search) in(content []byte) []string {
	var names []string
	for name, needles := range s.needles {
		for _, needle := range needles {
			if bytes.Contains(content, needle) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// underneath searches a file, or all files below a folder, and returns the names of the values by file, and the number of
// files.
func (s search) underneath(t *testing.T, root string) (found map[string][]string, read int) {
	t.Helper()
	found = map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed in the meantime
		}
		if err != nil || entry.IsDir() || entry.Type()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		read++
		if names := s.in(content); len(names) > 0 {
			found[path] = names
		}
		return nil
	})
	if err != nil {
		t.Fatalf("search %s: %v", root, err)
	}
	return found, read
}

// inProcess searches a file of a process in /proc. A process that has ended has no content.
func (s search) inProcess(p kit.Process, file string) []string {
	content, _ := os.ReadFile(p.Path(file))
	return s.in(content)
}

// An empty result proves something only if the search finds existing values.
func TestSearchFindsExistingValues(t *testing.T) {
	value := rand.Text()
	s := newSearch(map[string]string{"value": value})
	folder := t.TempDir()
	for name, content := range map[string]string{
		"plain":    "password=" + value + "\n",
		"offset-0": base64.StdEncoding.EncodeToString([]byte("abc" + value + "xyz")),
		"offset-1": base64.StdEncoding.EncodeToString([]byte("a" + value)),
		"offset-2": base64.StdEncoding.EncodeToString([]byte("ab" + value + "z")),
		"other":    rand.Text(),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, read := s.underneath(t, folder)
	for _, name := range []string{"plain", "offset-0", "offset-1", "offset-2"} {
		if len(found[filepath.Join(folder, name)]) == 0 {
			t.Errorf("%s contains the value, but isn't found", name)
		}
	}
	if len(found) != 4 || read != 5 {
		t.Errorf("found %d of %d files, want 4 of 5", len(found), read)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "cat", "-", value) // waits for input forever
	cmd.Env = append(os.Environ(), "VALUE="+value)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"cmdline", "environ"} {
		// The kernel shows the process a moment after Start has returned.
		kit.Eventually(t, 10*time.Second, "a process has the value in its "+file, func() error {
			if len(s.inProcess(kit.Process(cmd.Process.Pid), file)) == 0 {
				return errors.New("the value isn't found")
			}
			return nil
		})
	}
	cancel()
	_ = cmd.Wait()
}
