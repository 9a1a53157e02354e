package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// commands is what may become a part of a file's name.
var commands = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)

// name is what the files of a report are called, without their ends. Names sort by time.
func (r Report) name() (string, error) {
	if !commands.MatchString(r.Command) {
		return "", fmt.Errorf("the command %q: want a word of small letters, such as release", r.Command)
	}
	if r.Began.IsZero() {
		return "", errors.New("it doesn't say when the release began")
	}
	return r.Began.UTC().Format("20060102T150405Z") + "-" + r.Command, nil
}

// Save writes the report into folder, which it makes where it is missing, as <when it began>-<command>.json and .html:
// each file is whole or isn't there. It returns the path of the page. Saved again, a report replaces itself.
func Save(folder string, r Report) (page string, err error) {
	name, err := r.name()
	if err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	path := filepath.Join(folder, name)
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
