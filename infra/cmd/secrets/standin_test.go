package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// FolderVariable is the environment variable that names the folder of the project.
const FolderVariable = "PULUMI_STAND_IN"

// Project is a folder with what the stand-in keeps: the stack's configuration and outputs, and how it was called.
type Project string

// Entry is a value of the configuration, as pulumi config --json prints it.
type Entry struct {
	Value  string `json:"value"`
	Secret bool   `json:"secret"`
}

// The files of a project.
const (
	Configuration = "configuration"
	Outputs       = "outputs"
	Calls         = "calls"
	Failure       = "failure" // what each call fails with
	Stores        = "stores"  // how many values are still stored before that fails
	Held          = "held"    // while it is there, no value is stored
	Started       = "started" // made once one is about to be
)

// StandIn does what pulumi would. The binary of the tests runs it where it is called pulumi.
func StandIn(args []string) error {
	p := Project(os.Getenv(FolderVariable))
	call := strings.Join(args, " ")
	calls, err := os.OpenFile(p.Path(Calls), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(calls, call); err != nil {
		return errors.Join(err, calls.Close())
	}
	if err := calls.Close(); err != nil {
		return err
	}
	if syscall.Getpgrp() != os.Getpid() {
		return errors.New("an interruption from the terminal would end this while it writes")
	}
	if failure, err := os.ReadFile(p.Path(Failure)); err == nil {
		return errors.New(string(failure))
	}
	switch call = strings.TrimSuffix(call, " --non-interactive"); {
	case strings.HasPrefix(call, "config --json --show-secrets --stack "):
		return p.print(Configuration)
	case strings.HasPrefix(call, "stack output --json --stack "):
		return p.print(Outputs)
	case strings.HasPrefix(call, "config set --secret --stack ") && len(args) == 7:
		return p.store(args[5])
	default:
		return fmt.Errorf("unexpected: %s", call)
	}
}

// Path is the path of a file of the project.
func (p Project) Path(name string) string { return filepath.Join(string(p), name) }

// Has reports whether a file exists.
func (p Project) Has(name string) bool {
	_, err := os.Stat(p.Path(name))
	return err == nil
}

// Entries is the stack's configuration.
func (p Project) Entries() (entries map[string]Entry, err error) {
	content, err := os.ReadFile(p.Path(Configuration))
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(content, &entries)
	return entries, err
}

func (p Project) print(name string) error {
	content, err := os.ReadFile(p.Path(name))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(content)
	return err
}

// store adds the standard input to the configuration, without the final line break, like pulumi.
func (p Project) store(key string) error {
	value, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	if text, err := os.ReadFile(p.Path(Stores)); err == nil {
		left, err := strconv.Atoi(string(text))
		if err != nil {
			return err
		}
		if left == 0 {
			return errors.New("interrupted")
		}
		if err := os.WriteFile(p.Path(Stores), []byte(strconv.Itoa(left-1)), 0o600); err != nil {
			return err
		}
	}
	entries, err := p.Entries()
	if err != nil {
		return err
	}
	entries[key] = Entry{Value: strings.TrimSuffix(string(value), "\n"), Secret: true}
	content, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(p.Path(Configuration), content, 0o600)
}

func (p Project) wait() error {
	if !p.Has(Held) {
		return nil
	}
	if err := os.WriteFile(p.Path(Started), nil, 0o600); err != nil {
		return err
	}
	return Poll(func() bool { return !p.Has(Held) })
}

// Poll waits until a condition is true, or until a timeout.
func Poll(holds func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			return errors.New("it never came to pass")
		}
	}
	return nil
}
