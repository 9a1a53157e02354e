// Package command is the release command: it makes versions live by blue/green, watches them, and rolls them back.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

var (
	// ErrRolledBack is the result of a release that switched and was rolled back by the watch. The reason is printed.
	ErrRolledBack = errors.New("rolled back")
	// ErrDrift is the result of a comparison that found differences. They are printed.
	ErrDrift = errors.New("drift")
)

// options are the values of the flags.
type options struct {
	stack     string
	json      bool
	takeOver  bool
	version   string
	service   string
	watch     time.Duration
	unwatched bool
	adopt     bool
	reports   string
	email     string
	commit    string
	since     time.Time
}

// commands are the commands in the order of the usage text.
var commands = []struct {
	name, help string
	do         func(*session, context.Context) error
}{
	{"status", "show the live and the standby versions, and who holds the Lease of releases", (*session).status},
	{"up", "release the sources, or -version", (*session).up},
	{"promote", "release the versions that staging has tested, at -commit or last, on a stack that builds nothing", (*session).promote},
	{"tested", "record that the live versions passed the tests at -commit, so that they can be promoted", (*session).tested},
	{"rollback", "move traffic back to the standby versions at once", (*session).rollback},
	{"retire", "remove the standby versions", (*session).retire},
	{"history", "list the last releases", (*session).history},
	{"settle", "complete the steps that a killed update had begun", (*session).complete},
	{"drift", "compare the cluster with the last update; exit status 2 if they differ", (*session).drift},
	{"admin", "make an admin of the user with -email", (*session).admin},
	{"redrive", "process dead letters and abandoned deliveries to the webhook again", (*session).redrive},
	{"repair", "restore what drift reports; -adopt records the selected colour as live", (*session).repair},
}

// Run runs the command with the arguments of the command line in the repository's root, and prints its progress to out.
func Run(ctx context.Context, args []string, out io.Writer) error {
	var values options
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&values.stack, "stack", "local", "the stack")
	flags.BoolVar(&values.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&values.takeOver, "takeover", false, "take the Lease of releases over from its holder at once")
	flags.StringVar(&values.version, "version", "", "with up: a version or a release's number from the history")
	flags.StringVar(&values.service, "service", "", "with rollback: only this service, not all of the last release")
	flags.Func("since", "with rollback: only services that run a release since this time (RFC 3339)", func(text string) (err error) {
		values.since, err = time.Parse(time.RFC3339, text)
		return err
	})
	flags.DurationVar(&values.watch, "watch", 2*time.Minute, "how long to watch the new version, at least 35s")
	flags.BoolVar(&values.unwatched, "unwatched", false, "release without a watch, even if Prometheus is unreachable")
	flags.BoolVar(&values.adopt, "adopt", false, "with repair: record the selected colour as live")
	flags.StringVar(&values.email, "email", "", "with admin: the email of a user who has signed up")
	flags.StringVar(&values.commit, "commit", "", "with tested and promote: the full hash of a commit of the sources")
	flags.StringVar(&values.reports, "reports", ".build/releases", "the folder for reports")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: release [flags] <command>")
		for _, command := range commands {
			fmt.Fprintf(flags.Output(), "  %-9s %s\n", command.name, command.help)
		}
		flags.PrintDefaults()
	}
	// Flags may come before and after the command.
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := flags.Arg(0)
	if flags.NArg() > 0 {
		if err := flags.Parse(flags.Args()[1:]); err != nil {
			return err
		}
	}
	var names []string
	for _, command := range commands {
		names = append(names, command.name)
		if command.name != name || flags.NArg() > 0 {
			continue
		}
		s, err := open(ctx, values, out)
		if err != nil {
			return err
		}
		return command.do(s, ctx)
	}
	if flags.NArg() > 0 {
		name = strings.Join(append([]string{name}, flags.Args()...), " ")
	}
	return fmt.Errorf("there is no command %q: want one of %s", name, strings.Join(names, ", "))
}
