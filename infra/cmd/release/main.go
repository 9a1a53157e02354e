// Command release brings versions live by blue/green and takes them back. The program that pulumi runs is a complete, safe
// release by itself; this adds what a graph can't: progress, watching the new version for a while, taking it back by itself,
// history, an emergency rollback, and a report. It runs from the project's root, with pulumi on PATH.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	// errTakenBack is the end of a release that was good enough to switch and too bad to stay.
	errTakenBack = errors.New("taken back")
	// errDrift is the end of a comparison that found differences.
	errDrift = errors.New("drift")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(1)
	case errors.Is(err, errTakenBack), errors.Is(err, errDrift):
		os.Exit(2) // it has said why
	default:
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// options is what the flags say.
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
}

// commands is what can be asked for, in the order in which people will want it.
var commands = []struct {
	name, does string
	do         func(*session, context.Context) error
}{
	{"status", "what is live, what stands by, who holds the Lease of releases", (*session).status},
	{"up", "release what the sources have, or -version", (*session).up},
	{"promote", "release what staging has tested, on a stack that builds nothing", (*session).promote},
	{"rollback", "give the traffic back to what stands by, at once", (*session).rollback},
	{"retire", "take away what stands by", (*session).retire},
	{"history", "the last releases", (*session).history},
	{"settle", "complete the steps that a killed update had begun", (*session).complete},
	{"drift", "compare the cluster with what the last update left; exit status 2 where something differs", (*session).drift},
	{"admin", "make an admin of the user with -email", (*session).admin},
	{"redrive", "have handled again what was given up: dead letters, and deliveries to the webhook", (*session).redrive},
	{"repair", "restore what drift reports; -adopt takes what is selected for live", (*session).repair},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var asked options
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&asked.stack, "stack", "local", "the stack")
	flags.BoolVar(&asked.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&asked.takeOver, "takeover", false, "take the Lease of releases from its holder at once")
	flags.StringVar(&asked.version, "version", "", "with up: a version, or the number of a release, of the history")
	flags.StringVar(&asked.service, "service", "", "with rollback: this service alone, not all of the last release")
	flags.DurationVar(&asked.watch, "watch", 2*time.Minute, "how long the new version is watched before it is left alone, at least 35s")
	flags.BoolVar(&asked.unwatched, "unwatched", false, "release although nobody can watch, or without watching")
	flags.BoolVar(&asked.adopt, "adopt", false, "with repair: take what is selected for live")
	flags.StringVar(&asked.email, "email", "", "with admin: of a user who has signed up")
	flags.StringVar(&asked.reports, "reports", ".build/releases", "the folder for reports")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: release [flags] <command>")
		for _, command := range commands {
			fmt.Fprintf(flags.Output(), "  %-9s %s\n", command.name, command.does)
		}
		flags.PrintDefaults()
	}
	// Flags may stand before the command and after it.
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := flags.Arg(0)
	if flags.NArg() > 0 {
		if err := flags.Parse(flags.Args()[1:]); err != nil {
			return err
		}
	}
	for _, command := range commands {
		if command.name != name || flags.NArg() > 0 {
			continue
		}
		s, err := open(ctx, asked, out)
		if err != nil {
			return err
		}
		return command.do(s, ctx)
	}
	var names []string
	for _, command := range commands {
		names = append(names, command.name)
	}
	if flags.NArg() > 0 {
		name = strings.Join(append([]string{name}, flags.Args()...), " ")
	}
	return fmt.Errorf("there is no command %q: want one of %s", name, strings.Join(slices.Clip(names), ", "))
}
