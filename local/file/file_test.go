package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "file")
	check := func(want string, mode os.FileMode) {
		t.Helper()
		content, err := os.ReadFile(path)
		if err != nil || string(content) != want {
			t.Errorf("content %q, want %q: %v", content, want, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode %v, want %v: %v", info.Mode(), mode, err)
		}
		if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
			t.Errorf("files left beside it: %v", entries)
		}
	}
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := Write(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("one", 0o600)
	check("one", 0o600)
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the created folder: %v, %v", info.Mode(), err)
	}
	write("two", 0o600)
	check("two", 0o600)
	write("two", 0o700)
	check("two", 0o700)
}

func TestWriteKeepsAnUnchangedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Write(path, []byte("same"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("same"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("the unchanged file was touched: %v, %v", info.ModTime(), err)
	}
	if err := Write(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.ModTime().Equal(long) {
		t.Errorf("the changed file has the old time: %v, %v", info.ModTime(), err)
	}
}

func TestWriteKeepsTheContentOfAnOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Write(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := Write(path, []byte("after!"), 0o600); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 16)
	if n, err := reader.Read(content); err != nil || string(content[:n]) != "before" {
		t.Errorf("the reader sees %q: %v", content[:n], err)
	}
}

func TestWriteErrorNamesTheFile(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "file")
	if err := Write(parent, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(parent, "below")
	if err := Write(below, []byte("x"), 0o600); err == nil || err.Error() != "write "+below+": mkdir "+parent+": not a directory" {
		t.Error(err)
	}
}
