package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Save writes the report to <time of the start>-<command>.json and .html in folder and returns the path of the page. It creates the
// folder if necessary, replaces earlier files of the same report, and writes each file atomically.
func Save(folder string, r Report) (page string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	path := filepath.Join(folder, r.Began.UTC().Format("20060102T150405Z")+"-"+r.Command)
	// The page comes first: programs that find the data expect the page beside it.
	if err := write(path+".html", r.WriteHTML); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	if err := write(path+".json", r.WriteJSON); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	return path + ".html", nil
}

// write writes a temporary file and renames it.
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
