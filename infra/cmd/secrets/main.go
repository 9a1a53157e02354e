// Command secrets generates every secret that a stack lacks and stores it, encrypted, in the stack's configuration.
// It runs the pulumi CLI that is on PATH, from the project's root. Secrets that are there stay as they are.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "secrets:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("secrets", flag.ContinueOnError)
	name := flags.String("stack", "", "the stack to complete: local, staging or production")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *name == "" || flags.NArg() > 0 {
		return errors.New("want exactly -stack with the stack's name, as in: secrets -stack local")
	}
	stored, err := storedSecrets(ctx, *name)
	if err != nil {
		return err
	}
	for _, secret := range catalog.Secrets(catalog.Services(), *name == string(stack.Local)) {
		key := stack.Namespace + ":" + secret.Name
		if stored[key] {
			continue
		}
		value, err := generate(secret.Kind)
		if err != nil {
			return fmt.Errorf("generate %s: %w", key, err)
		}
		if _, err := pulumi(ctx, value, "config", "set", "--secret", "--stack", *name, key); err != nil {
			return fmt.Errorf("store %s: %w", key, err)
		}
		_, _ = fmt.Fprintln(out, "generated", key)
	}
	return nil
}

// storedSecrets is the keys of the stack's configuration that hold encrypted values. A secret in plain text is an
// error: it may have been seen, and replacing it silently could lock out whoever uses it.
func storedSecrets(ctx context.Context, name string) (map[string]bool, error) {
	answer, err := pulumi(ctx, "", "config", "--json", "--stack", name)
	if err != nil {
		return nil, fmt.Errorf("list the configuration of stack %s: %w", name, err)
	}
	var entries map[string]struct {
		Secret bool `json:"secret"`
	}
	if err := json.Unmarshal(answer, &entries); err != nil {
		return nil, fmt.Errorf("read the configuration of stack %s: %w", name, err)
	}
	stored := map[string]bool{}
	for key, entry := range entries {
		stored[key] = entry.Secret
	}
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		key := stack.Namespace + ":" + secret.Name
		if encrypted, there := stored[key]; there && !encrypted {
			return nil, fmt.Errorf("stack %s: %s is stored in plain text: remove it with `pulumi config rm %s --stack %s` "+
				"and run this again", name, key, key, name)
		}
	}
	return stored, nil
}

// pulumi runs the CLI with the text on its standard input, where no process list shows it.
func pulumi(ctx context.Context, input string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "pulumi", append(args, "--non-interactive")...)
	command.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	answer, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("pulumi %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return answer, nil
}
