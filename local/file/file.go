// Package file writes files atomically, and only if their content changes, because some programs restart when a file that
// they read is touched.
package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Write writes the file with the given content and mode. It creates missing folders, readable only by their owner.
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
