// Package command prepares the programs that measure releases, and runs the release command for them.
package command

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"platform.example/test/load"
	"platform.example/test/variant"
)

// Measurement is what a measurement needs: the repository, another version of all services, and the load.
type Measurement struct {
	Root  string // of the repository
	Next  string // folder with the sources of the other version
	Usage load.Options
}

// Prepare compiles another version of all services in a folder below temporary, and measures the capacity of the machine if rate is 0.
func Prepare(ctx context.Context, name, temporary, url string, rate float64, duration time.Duration) (m Measurement, err error) {
	if m.Root, err = os.Getwd(); err != nil {
		return m, err
	}
	authority, err := os.ReadFile(filepath.Join(m.Root, "bin", "ca.pem"))
	if err != nil {
		return m, fmt.Errorf("%w: run make up first", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	next, err := variant.New(m.Root, temporary)
	if err != nil {
		return m, err
	}
	m.Next = string(next)
	if err := next.Differ(variant.All, "the "+name+" of "+time.Now().Format(time.RFC3339Nano)); err != nil {
		return m, err
	}
	fmt.Println("compiling the other version, and the program from a copy of the sources: two minutes the first time")
	if _, err := next.Preview(ctx); err != nil {
		return m, err
	}
	m.Usage = load.Options{BaseURL: url, RootCAs: pool, Rate: rate, Duration: duration}
	if rate == 0 {
		fmt.Println("measuring the capacity of this machine")
		if m.Usage.Rate, err = load.Beside(ctx, m.Usage); err != nil {
			return m, err
		}
	}
	fmt.Printf("%.0f requests per second: reads, writes and orders, over kept-alive and new connections\n", m.Usage.Rate)
	return m, nil
}

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
