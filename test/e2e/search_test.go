package e2e

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
)

// search knows values by name and says where they are, never what they are.
type search struct{ needles map[string][][]byte }

// newSearch looks for the values as they are and in base64.
func newSearch(values map[string]string) search {
	s := search{map[string][][]byte{}}
	for name, value := range values {
		s.needles[name] = append(inBase64(value), []byte(value))
	}
	return s
}

// inBase64 is what of a value stays the same in base64, wherever it stands in
// the text that was encoded: that depends on its offset from a multiple of three.
func inBase64(value string) [][]byte {
	var encoded [][]byte
	for offset := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), value...))
		first := (offset*8 + 5) / 6           // the first character without a bit of what stands before
		last := (offset + len(value)) * 8 / 6 // the last one without a bit of what follows
		encoded = append(encoded, []byte(text[first:last]))
	}
	return encoded
}

// in names the values that the content holds.
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

// underneath searches all files below a folder, or a file, and names those that
// hold a value. It returns how many it read.
func (s search) underneath(t *testing.T, root string) (found map[string][]string, read int) {
	t.Helper()
	found = map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone while we look
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

// inProcess searches what the kernel tells of a process. One that has ended has told nothing.
func (s search) inProcess(p process, file string) []string {
	content, _ := os.ReadFile(p.path(file))
	return s.in(content)
}

// Nothing found is worth something only from a search that finds.
func TestTheSearchFindsWhatIsThere(t *testing.T) {
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
			t.Errorf("%s holds the value and isn't found", name)
		}
	}
	if len(found) != 4 || read != 5 {
		t.Errorf("%d of %d files are found, want 4 of 5", len(found), read)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "cat", "-", value) // waits for its input, which never comes
	cmd.Env = append(os.Environ(), "VALUE="+value)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The kernel may tell of the process a moment after Start has returned.
	for _, file := range []string{"cmdline", "environ"} {
		// The kernel tells of the process a moment after Start has returned.
		eventually(t, 10*time.Second, "a process holds the value in its "+file, func() error {
			if len(s.inProcess(process(cmd.Process.Pid), file)) == 0 {
				return errors.New("it isn't found")
			}
			return nil
		})
	}
	cancel()
	_ = cmd.Wait()
}
