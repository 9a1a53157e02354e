package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Save writes the report into folder, which it makes where it is missing, as <when it began>-<command>.json and .html:
// each file is whole or isn't there, and names sort by time. It returns the path of the page. Saved again, a report replaces itself.
func Save(folder string, r Report) (page string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	path := filepath.Join(folder, r.Began.UTC().Format("20060102T150405Z")+"-"+r.Command)
	// A page is found by its data only: who sees the data may look for the page beside it, hence it comes first.
	if err := write(path+".html", r.WriteHTML); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	if err := write(path+".json", r.WriteJSON); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	return path + ".html", nil
}

// write writes a file beside its place and moves it there.
func write(path string, content func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := errors.Join(content(file), file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
