// Command secrets generates every secret that a stack lacks, renews certificates that are about to end, and rotates a
// secret by name. It stores them, encrypted, in the stack's configuration. It runs the pulumi CLI that is on PATH, from
// the project's root. Other secrets stay as they are.
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
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/secret"
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
	rotated := flags.String("rotate", "", "the secret to change, such as jwtKeys")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *name == "" || flags.NArg() > 0 {
		return errors.New("want -stack with the stack's name, as in: secrets -stack local")
	}
	s := store{
		stack: *name, wanted: catalog.Secrets(catalog.Services(), *name == string(stack.Local)), now: time.Now(), out: out,
	}
	if *rotated != "" && !slices.Contains(s.names(), *rotated) {
		return fmt.Errorf("stack %s has no secret %q: want one of %s", *name, *rotated, strings.Join(s.names(), ", "))
	}
	if err := s.read(ctx); err != nil {
		return err
	}
	if err := s.complete(ctx); err != nil || *rotated == "" {
		return err
	}
	return s.rotate(ctx, *rotated)
}

// store is the secrets of a stack's configuration.
type store struct {
	stack  string
	wanted []catalog.Secret // the authority before what it signs
	values map[string]string
	now    time.Time
	out    io.Writer
}

func (s *store) names() []string {
	var names []string
	for _, wanted := range s.wanted {
		names = append(names, wanted.Name)
	}
	return names
}

// read gets the values that are there. A secret in plain text is an error: it may have been seen, and replacing it
// silently could lock out whoever uses it.
func (s *store) read(ctx context.Context) error {
	answer, err := pulumi(ctx, "", "config", "--json", "--show-secrets", "--stack", s.stack)
	if err != nil {
		return fmt.Errorf("read the configuration of stack %s: %w", s.stack, err)
	}
	var entries map[string]struct {
		Value  string `json:"value"`
		Secret bool   `json:"secret"`
	}
	if err := json.Unmarshal(answer, &entries); err != nil {
		return fmt.Errorf("read the configuration of stack %s: it is not what pulumi config --json prints", s.stack)
	}
	s.values = map[string]string{}
	for _, wanted := range s.wanted {
		key := stack.Namespace + ":" + wanted.Name
		entry, there := entries[key]
		if there && !entry.Secret {
			return fmt.Errorf("stack %s: %s is stored in plain text: remove it with `pulumi config rm %s --stack %s` "+
				"and run this again", s.stack, key, key, s.stack)
		}
		if there {
			s.values[wanted.Name] = entry.Value
		}
	}
	return nil
}

// complete generates what isn't there, and renews certificates that end soon, are for other hosts, or are signed by
// nobody who is trusted.
func (s *store) complete(ctx context.Context) error {
	for _, wanted := range s.wanted {
		did := "generated"
		if value, there := s.values[wanted.Name]; there {
			if wanted.Kind != catalog.Certificate || s.lasts(wanted, value) {
				continue
			}
			did = "renewed"
		}
		value, err := generate(wanted, s.values[catalog.Authority], s.now)
		if err != nil {
			return fmt.Errorf("generate %s: %w", wanted.Name, err)
		}
		if err := s.put(ctx, wanted.Name, value, did); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) lasts(wanted catalog.Secret, value string) bool {
	return certificate.Valid(value, wanted.Hosts, s.now.Add(certificate.Renew)) == nil &&
		certificate.SignedBy(value, s.values[catalog.Authority])
}

// rotate changes one secret, and after the authority what it signs.
func (s *store) rotate(ctx context.Context, name string) error {
	if err := s.applied(ctx, name); err != nil {
		return err
	}
	for _, wanted := range s.wanted {
		signed := name == catalog.Authority && wanted.Kind == catalog.Certificate
		if wanted.Name != name && !signed {
			continue
		}
		value, err := rotate(wanted, s.values[wanted.Name], s.values[catalog.Authority], s.now)
		if err != nil {
			return fmt.Errorf("rotate %s: %w", wanted.Name, err)
		}
		if err := s.put(ctx, wanted.Name, value, "rotated"); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(s.out, "now run: pulumi up --stack %s\n%s", s.stack, afterwards(s.kind(name)))
	return nil
}

// applied is an error where the stack runs with another value than the one that is stored: to rotate that would take away
// the value that is in use.
func (s *store) applied(ctx context.Context, name string) error {
	answer, err := pulumi(ctx, "", "stack", "output", "--json", "--stack", s.stack)
	if err != nil {
		return fmt.Errorf("read the outputs of stack %s: %w", s.stack, err)
	}
	var outputs map[string]json.RawMessage
	if err := json.Unmarshal(answer, &outputs); err != nil {
		return fmt.Errorf("read the outputs of stack %s: it is not what pulumi stack output --json prints", s.stack)
	}
	var running map[string]string
	_ = json.Unmarshal(outputs[secret.Output], &running) // nothing where the stack was never up
	if version := running[name]; version != "" && version != secret.Version(s.values[name]) {
		return fmt.Errorf("stack %s doesn't run with the %s that is stored: run `pulumi up --stack %s` before it is rotated again",
			s.stack, name, s.stack)
	}
	return nil
}

func (s *store) kind(name string) catalog.Kind {
	for _, wanted := range s.wanted {
		if wanted.Name == name {
			return wanted.Kind
		}
	}
	return ""
}

// afterwards is how long the former value goes on to be accepted.
func afterwards(kind catalog.Kind) string {
	switch kind {
	case catalog.Password:
		return "The former value is accepted until the next rotation: if it has leaked, rotate once more after the update.\n"
	case catalog.JWTKeys, catalog.CertificateAuthority:
		return "The former value is accepted until the next rotation, and one that is not in use yet is announced by this one:\n" +
			"if all have leaked, rotate three times, with an update after each.\n"
	default:
		return ""
	}
}

// put stores a value at once, so that an interrupted run is gone on with by the next.
func (s *store) put(ctx context.Context, name, value, did string) error {
	key := stack.Namespace + ":" + name
	if _, err := pulumi(ctx, value, "config", "set", "--secret", "--stack", s.stack, key); err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	s.values[name] = value
	_, _ = fmt.Fprintln(s.out, did, key)
	return nil
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
