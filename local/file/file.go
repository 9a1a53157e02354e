// Package file writes files so that nobody ever reads half of one, and only when
// their content changes: some programs restart when a file they read is touched.
package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Write makes the file have the content and the mode. It makes missing folders,
// closed to others.
func Write(path string, content []byte, mode os.FileMode) error {
	if current, err := os.ReadFile(path); err == nil && bytes.Equal(current, content) {
		return os.Chmod(path, mode)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
