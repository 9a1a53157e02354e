// Package file writes files atomically, and only if their content changes, because some programs restart when a file that
// they read is touched.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write writes the file with the given content and mode. It creates missing folders, readable only by their owner.
func Write(path string, content []byte, mode os.FileMode) error {
	if current, err := os.ReadFile(path); err == nil && bytes.Equal(current, content) {
		return os.Chmod(path, mode)
	}
	fresh := path + ".new"
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(fresh, content, mode))
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
