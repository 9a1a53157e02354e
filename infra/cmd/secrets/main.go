// Command secrets generates every secret that a stack lacks, and rotates a secret by name. It stores them, encrypted, in the
// stack's configuration. It runs the pulumi CLI that is on PATH, from the project's root. Other secrets stay as they are. The next
// run completes an interrupted one.
package main

import (
	"bytes"
	"cmp"
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
	"syscall"
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
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "secrets: interrupted: run this again without a rotation to complete what it has begun")
	default:
		fmt.Fprintln(os.Stderr, "secrets:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("secrets", flag.ContinueOnError)
	name := flags.String("stack", "", "the stack to complete, such as staging")
	rotated := flags.String("rotate", "", "the secret to change, such as jwtKeys")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *name == "" || flags.NArg() > 0 {
		return errors.New("want -stack with the stack's name, as in: secrets -stack local")
	}
	s := store{stack: *name, now: time.Now(), out: out}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.read(ctx); err != nil {
		return err
	}
	if *rotated != "" && !slices.Contains(s.names(), *rotated) {
		return fmt.Errorf("stack %s has no secret %q: want one of %s", *name, *rotated, strings.Join(s.names(), ", "))
	}
	if err := s.applied(ctx, *rotated); err != nil {
		// What a run that was interrupted has left undone can be done all the same.
		return errors.Join(s.complete(ctx, ""), err)
	}
	return s.complete(ctx, *rotated)
}

// lock makes this run the only one of the project: of two, one would undo what the other has stored. The kernel gives the
// lock up when the process ends in any way.
func lock() (unlock func(), err error) {
	file, err := os.Open("Pulumi.yaml")
	if err != nil {
		return nil, fmt.Errorf("find the project: %w: run this from the repository's root", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, errors.New("another run changes the secrets of this project: wait for its end and run this again")
	}
	return func() { _ = file.Close() }, nil
}

// store is the secrets of a stack's configuration.
type store struct {
	stack  string
	wanted []catalog.Secret
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
	plain := map[string]string{}
	for key, entry := range entries {
		if name, ours := strings.CutPrefix(key, stack.Namespace+":"); ours && !entry.Secret {
			plain[name] = entry.Value
		}
	}
	if err := stack.Fits(s.stack, plain); err != nil {
		return err
	}
	environment := cmp.Or(stack.Setting(plain, "environment"), s.stack)
	s.wanted = catalog.Secrets(catalog.Services(), environment == string(stack.Local))
	given := catalog.GivenSecrets(stack.Setting(plain, "monitoring.webhookNetwork") != "")
	s.values = map[string]string{}
	for _, wanted := range append(slices.Clone(s.wanted), given...) {
		key := stack.Namespace + ":" + wanted.Name
		entry, there := entries[key]
		if there && !entry.Secret {
			return fmt.Errorf("stack %s: %s is stored in plain text: remove it with `pulumi config rm %s --stack %s` "+
				"and run this again", s.stack, key, key, s.stack)
		}
		if there {
			s.values[wanted.Name] = entry.Value // an empty one counts as none
		}
	}
	_, err = secret.Read(s.stack, given, s.values) // nobody here can make another
	return err
}

// complete does for each secret what is due, and says what is to be done after it.
func (s *store) complete(ctx context.Context, rotated string) error {
	stored, last := false, ""
	for _, wanted := range s.wanted {
		due, err := s.due(wanted, rotated)
		if err != nil {
			return fmt.Errorf("%s: %w", wanted.Name, err)
		}
		if due.did == "" {
			continue
		}
		if err := s.put(ctx, wanted.Name, due); err != nil {
			return err
		}
		stored, last = true, last+due.afterwards
	}
	s.remind()
	if stored {
		_, _ = fmt.Fprintf(s.out, "now run: pulumi up --stack %s\n%s", s.stack, last)
	}
	return nil
}

// change is what is done to a secret.
type change struct {
	value      string
	did        string // such as generated; empty where nothing is due
	afterwards string
}

// due is the change of a secret: it isn't there, or it is the one to be rotated.
func (s *store) due(wanted catalog.Secret, rotated string) (due change, err error) {
	former := s.values[wanted.Name]
	switch {
	case former == "":
		due.did = "generated"
	case wanted.Name == rotated && !s.usable(wanted):
		due.did, due.afterwards = "replaced", "The former value could not be used, and is not accepted any more.\n"
	case wanted.Name == rotated:
		due.did, due.afterwards = "rotated", afterwards(wanted, former)
		due.value, err = rotate(wanted, former, s.now)
		return due, err
	default:
		return change{}, nil
	}
	due.value, err = generate(wanted, s.now)
	return due, err
}

// usable reports whether the platform takes the value as it is stored.
func (s *store) usable(wanted catalog.Secret) bool {
	_, err := secret.Read(s.stack, []catalog.Secret{wanted}, s.values)
	return err == nil
}

// remind says that the authority expires within two years: only a person can decide when all its clients trust the next one.
func (s *store) remind() {
	end, err := certificate.NotAfter(s.values[catalog.Authority])
	if err == nil && s.now.AddDate(2, 0, 0).After(end) {
		_, _ = fmt.Fprintf(s.out, "%s:%s ends on %s: rotate it with `make secrets STACK=%s ROTATE=%s`\n",
			stack.Namespace, catalog.Authority, end.UTC().Format(time.DateOnly), s.stack, catalog.Authority)
	}
}

// applied is an error where the stack runs with another value than the one that is stored: to rotate that would take away
// the value that is in use.
func (s *store) applied(ctx context.Context, name string) error {
	at := slices.IndexFunc(s.wanted, func(wanted catalog.Secret) bool { return wanted.Name == name })
	if at < 0 || !s.usable(s.wanted[at]) {
		return nil // nothing runs with it
	}
	answer, err := pulumi(ctx, "", "stack", "output", "--json", "--stack", s.stack)
	if err != nil {
		return fmt.Errorf("read the outputs of stack %s: %w", s.stack, err)
	}
	var outputs map[string]json.RawMessage
	if err := json.Unmarshal(answer, &outputs); err != nil {
		return fmt.Errorf("read the outputs of stack %s: it is not what pulumi stack output --json prints", s.stack)
	}
	if len(outputs) == 0 {
		return nil // it was never up
	}
	var running map[string]string
	if err := json.Unmarshal(outputs[secret.Output], &running); err != nil {
		return fmt.Errorf("stack %s doesn't tell which secrets it runs with: run `pulumi up --stack %s` before one is rotated",
			s.stack, s.stack)
	}
	if version := running[name]; version != "" && version != secret.Version(s.values[name]) {
		return fmt.Errorf("stack %s doesn't run with the %s that is stored: run `pulumi up --stack %s` before it is rotated again",
			s.stack, name, s.stack)
	}
	return nil
}

// afterwards is how long the former value goes on to be accepted, and what takes it away.
func afterwards(rotated catalog.Secret, former string) string {
	const accepted = "The former value is accepted until the next rotation: if it has leaked, rotate again after the update, " +
		"and update once more.\n"
	switch {
	case announces(rotated, former):
		return "The new value is only announced yet: rotate again after the update to bring it into use. The former one is accepted\n" +
			"until the rotation after that: if it has leaked, this is the first of three, each with an update after it.\n"
	case rotated.Kind == catalog.Password:
		return accepted
	case rotated.Kind == catalog.JWTKeys, rotated.Kind == catalog.SigningKeys, rotated.Kind == catalog.CertificateAuthority:
		return accepted + "If all that was stored has leaked, so has what is in use now: this is the first of three rotations, each with an " +
			"update after it.\n"
	default:
		return "The former value is not accepted after the update.\n"
	}
}

// put stores a value at once, so that an interrupted run is gone on with by the next.
func (s *store) put(ctx context.Context, name string, due change) error {
	key := stack.Namespace + ":" + name
	if _, err := pulumi(ctx, due.value, "config", "set", "--secret", "--stack", s.stack, key); err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	s.values[name] = due.value
	_, _ = fmt.Fprintf(s.out, "%s %s\n", due.did, key)
	return nil
}

// grace is how long the CLI may take to end what it is doing: it writes the whole configuration, all its secrets, to
// one file, and a half-written one would be lost.
const grace = 10 * time.Second

// pulumi runs the CLI with the text on its standard input, where no process list shows it.
func pulumi(ctx context.Context, input string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "pulumi", append(args, "--non-interactive")...)
	command.Cancel = func() error { return os.ErrProcessDone } // it isn't killed: it is done soon
	command.WaitDelay = grace
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal interrupts whole groups
	command.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	answer, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("pulumi %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return answer, nil
}
