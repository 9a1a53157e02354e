// Command secrets generates a stack's missing secrets, and rotates a secret by name. It stores them encrypted in the stack's
// configuration with the pulumi CLI. It runs in the project's root. The next run completes an interrupted one.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
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

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

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
		fmt.Fprintln(os.Stderr, "secrets: interrupted: run this again without a rotation to complete it")
	default:
		fmt.Fprintln(os.Stderr, "secrets:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("secrets", flag.ContinueOnError)
	name := flags.String("stack", "", "the stack, such as staging")
	rotated := flags.String("rotate", "", "a secret to rotate, such as jwtKeys")
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
	names := slice.Map(s.known, func(known catalog.Secret) string { return known.Name })
	if *rotated != "" && !slices.Contains(names, *rotated) {
		return fmt.Errorf("stack %s has no secret %q: want one of %s", *name, *rotated, strings.Join(names, ", "))
	}
	if err := s.applied(ctx, *rotated); err != nil {
		// Complete an interrupted run all the same.
		return errors.Join(s.complete(ctx, ""), err)
	}
	return s.complete(ctx, *rotated)
}

// lock excludes other runs on the project, which would overwrite each other's changes. The kernel releases the lock when the process ends.
func lock() (unlock func(), err error) {
	file, err := os.Open("Pulumi.yaml")
	if err != nil {
		return nil, fmt.Errorf("find the project: %w: run this from the repository's root", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, errors.New("another run is changing the secrets of this project: wait for its end and run this again")
	}
	return func() { _ = file.Close() }, nil
}

// store is the secrets in a stack's configuration.
type store struct {
	stack  string
	known  []catalog.Secret // that this command generates
	values map[string]string
	now    time.Time
	out    io.Writer
}

// read reads the existing values. It fails on a secret in plain text: it may be compromised, and replacing it could lock out its users.
func (s *store) read(ctx context.Context) error {
	output, err := pulumi(ctx, "", "config", "--json", "--show-secrets", "--stack", s.stack)
	if err != nil {
		return fmt.Errorf("read the configuration of stack %s: %w", s.stack, err)
	}
	var entries map[string]struct {
		Value  string `json:"value"`
		Secret bool   `json:"secret"`
	}
	if err := json.Unmarshal(output, &entries); err != nil {
		return fmt.Errorf("read the configuration of stack %s: unexpected output of pulumi config --json", s.stack)
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
	s.known = catalog.Secrets(catalog.Services(), environment == string(stack.Local))
	optional := catalog.GivenSecrets(stack.Setting(plain, "monitoring.webhookNetwork") != "")
	s.values = map[string]string{}
	for _, known := range append(slices.Clone(s.known), optional...) {
		key := stack.Namespace + ":" + known.Name
		entry, exists := entries[key]
		if exists && !entry.Secret {
			return fmt.Errorf("stack %s: %s is stored in plain text: remove it with `pulumi config rm %s --stack %s` "+
				"and run this again", s.stack, key, key, s.stack)
		}
		if exists {
			s.values[known.Name] = entry.Value // an empty one counts as missing
		}
	}
	_, err = secret.Read(s.stack, optional, s.values) // this command can't generate them
	return err
}

// complete generates the missing secrets and rotates one by name. It prints the next steps.
func (s *store) complete(ctx context.Context, rotated string) error {
	stored, last := false, ""
	for _, known := range s.known {
		former, did, then := s.values[known.Name], "generated", ""
		switch {
		case former == "":
		case known.Name != rotated:
			continue
		case !s.usable(known):
			former, did, then = "", "replaced", "The former value was invalid and is not accepted any more.\n"
		default:
			did, then = "rotated", afterwards(known, former, s.now)
		}
		value, err := rotate(known, former, s.now)
		if err != nil {
			return fmt.Errorf("%s: %w", known.Name, err)
		}
		// Each value is stored at once, so that the next run completes an interrupted one.
		key := stack.Namespace + ":" + known.Name
		if _, err := pulumi(ctx, value, "config", "set", "--secret", "--stack", s.stack, key); err != nil {
			return fmt.Errorf("store %s: %w", key, err)
		}
		s.values[known.Name] = value
		_, _ = fmt.Fprintf(s.out, "%s %s\n", did, key)
		stored, last = true, last+then
	}
	s.remind()
	if stored {
		_, _ = fmt.Fprintf(s.out, "now run: pulumi up --stack %s\n%s", s.stack, last)
	}
	return nil
}

// usable reports whether the stored value is valid.
func (s *store) usable(known catalog.Secret) bool {
	_, err := secret.Read(s.stack, []catalog.Secret{known}, s.values)
	return err == nil
}

// remind prints that the authority expires within two years. Only a person knows when all clients trust the next one.
func (s *store) remind() {
	end, err := certificate.NotAfter(s.values[catalog.Authority])
	if err == nil && s.now.AddDate(2, 0, 0).After(end) {
		_, _ = fmt.Fprintf(s.out, "%s:%s expires on %s: rotate it with `make secrets STACK=%s ROTATE=%s`\n",
			stack.Namespace, catalog.Authority, end.UTC().Format(time.DateOnly), s.stack, catalog.Authority)
	}
}

// applied returns an error if the stack runs with another value than the stored one. A rotation would then remove the value in use.
func (s *store) applied(ctx context.Context, name string) error {
	at := slices.IndexFunc(s.known, func(known catalog.Secret) bool { return known.Name == name })
	if at < 0 || !s.usable(s.known[at]) {
		return nil // it isn't in use
	}
	output, err := pulumi(ctx, "", "stack", "output", "--json", "--stack", s.stack)
	if err != nil {
		return fmt.Errorf("read the outputs of stack %s: %w", s.stack, err)
	}
	var outputs map[string]json.RawMessage
	if err := json.Unmarshal(output, &outputs); err != nil {
		return fmt.Errorf("read the outputs of stack %s: unexpected output of pulumi stack output --json", s.stack)
	}
	if len(outputs) == 0 {
		return nil // the stack was never deployed
	}
	var running map[string]string
	if err := json.Unmarshal(outputs[secret.Output], &running); err != nil {
		return fmt.Errorf("stack %s has no output with the secrets in use: run `pulumi up --stack %s` before a rotation",
			s.stack, s.stack)
	}
	if version := running[name]; version != "" && version != secret.Version(s.values[name]) {
		return fmt.Errorf("stack %s doesn't use the stored %s yet: run `pulumi up --stack %s` before the next rotation",
			s.stack, name, s.stack)
	}
	return nil
}

// afterwards explains how long the former value is accepted, and how to remove it.
func afterwards(rotated catalog.Secret, former string, now time.Time) string {
	const accepted = "The former value is accepted until the next rotation: if it has leaked, rotate again after the update, " +
		"and update once more.\n"
	switch parts, _ := split(rotated.Kind, former, now); { // the value is valid
	case rotated.Kind == catalog.Plain:
		return "The former value is not accepted after the update.\n"
	case rotated.Kind == catalog.Password:
		return accepted
	case len(parts) == 1:
		return "The new value isn't used yet: rotate again after the update to use it. The former value is accepted until the rotation\n" +
			"after that: if it has leaked, this is the first of three rotations, each with an update after it.\n"
	default:
		return accepted + "If all stored values have leaked, so has the one in use now: this is the first of three rotations, each with an " +
			"update after it.\n"
	}
}

// grace is how long the CLI may run on after an interrupt. It writes the complete configuration to one file, which would be lost if it
// were interrupted.
const grace = 10 * time.Second

// pulumi runs the CLI with the text on its standard input, which isn't in any process list.
func pulumi(ctx context.Context, input string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "pulumi", append(args, "--non-interactive")...)
	command.Cancel = func() error { return os.ErrProcessDone } // don't kill it: it ends soon
	command.WaitDelay = grace
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal interrupts whole groups
	command.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("pulumi %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return output, nil
}

// rotate returns the value after a former one. It still accepts the part in use of the former one. After an empty one, it returns the first value.
func rotate(secret catalog.Secret, former string, now time.Time) (string, error) {
	fresh, err := newPart(secret.Kind, now)
	if err != nil || secret.Kind == catalog.Plain || secret.Kind == catalog.Password && former == "" {
		return fresh, err
	}
	parts, err := split(secret.Kind, former, now)
	switch {
	case err != nil:
		return "", err
	case secret.Kind == catalog.Password:
		parts = []string{fresh, parts[0]}
	case len(parts) == 0:
		return rotate(secret, fresh, now)
	case len(parts) == 1: // without a next part, this one stays in use
		parts = append(parts, fresh)
	default:
		parts = []string{parts[1], fresh, parts[0]}
	}
	if secret.Kind == catalog.CertificateAuthority {
		return strings.Join(parts, ""), nil
	}
	return strings.Join(parts, ","), nil
}

// split returns the parts of a value: the one in use, the next and the former one. It leaves out authorities that have expired, whose
// signatures no client accepts.
func split(kind catalog.Kind, value string, now time.Time) ([]string, error) {
	switch {
	case value == "":
		return nil, nil
	case kind != catalog.CertificateAuthority:
		return strings.Split(value, ","), nil
	}
	authorities, err := certificate.Authorities(value)
	return slices.DeleteFunc(authorities, func(authority string) bool {
		end, err := certificate.NotAfter(authority)
		return err == nil && now.After(end)
	}), err
}

// newPart generates a part of a value.
func newPart(kind catalog.Kind, now time.Time) (string, error) {
	switch kind {
	case catalog.Plain, catalog.Password:
		return password(), nil
	case catalog.JWTKeys, catalog.SigningKeys:
		return signingKey(kind), nil
	case catalog.CertificateAuthority:
		return certificate.NewAuthority(now)
	default:
		return "", fmt.Errorf("unknown kind of secret %q", kind)
	}
}

// password is 32 random bytes.
func password() string { return base64.RawURLEncoding.EncodeToString(randomBytes(32)) }

// signingKey is an id and the seed of an Ed25519 key: 32 random bytes (RFC 8032, 5.1.5).
func signingKey(kind catalog.Kind) string {
	form := map[catalog.Kind]string{catalog.JWTKeys: catalog.Ed25519Seed}[kind]
	return hex.EncodeToString(randomBytes(4)) + ":" + form + password()
}

func randomBytes(length int) []byte {
	random := make([]byte, length)
	_, _ = rand.Read(random) // never returns an error
	return random
}
