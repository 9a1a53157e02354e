// Package command runs the release command for programs that measure releases.
package command

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Line is a line that the release command prints with -json.
type Line struct {
	At       time.Time
	Said     string          // for people
	Step     string          // that ended, such as "user-service: switch"
	Releases json.RawMessage // of history
}

// Release runs bin/release of the repository in a folder with sources. It prints what the command says, and returns its lines.
func Release(ctx context.Context, root, folder string, arguments ...string) ([]Line, error) {
	command := exec.CommandContext(ctx, filepath.Join(root, "bin", "release"),
		append(arguments, "-json", "-reports", filepath.Join(root, ".build", "releases"))...)
	command.Dir, command.Stderr = folder, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	printed, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	var found []Line
	lines := bufio.NewScanner(printed)
	lines.Buffer(nil, 4<<20) // the history is one line
	for lines.Scan() {
		var line Line
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		if found = append(found, line); line.Said != "" {
			fmt.Println("  " + line.Said)
		}
	}
	if err := command.Wait(); err != nil {
		return found, fmt.Errorf("release %s: %w", strings.Join(arguments, " "), err)
	}
	return found, lines.Err()
}

// Pause waits, or returns the error of ctx once it is done.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
