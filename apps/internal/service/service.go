// Package service is the process around a service: its commands, its signals
// and what it says of itself.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // the image holds no time zones

	_ "golang.org/x/crypto/x509roots/fallback" // the image holds no CA roots

	"platform.example/apps/internal/config"
)

// Process is what a command has of the process it runs in.
type Process struct {
	Lookup         func(name string) (string, bool) // environment variables
	Stdout, Stderr io.Writer
}

// Command runs until it is done or until ctx is.
type Command func(ctx context.Context, p Process) error

// Commands are the subcommands of a service by name; "" is what runs without one.
type Commands map[string]Command

// gcPercent lets the heap grow to five times what lives before it is collected:
// what lives is a few MiB, so that the default would collect all the time.
// GOMEMLIMIT, which the platform sets, still holds.
const gcPercent = 400

// Main runs the command that the process was started with and exits. The first
// SIGTERM or SIGINT asks it to stop, the second makes it exit at once.
func Main(name string, commands Commands) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		cancel()
		second := <-signals
		fmt.Fprintf(os.Stderr, "%s: second signal (%s): exiting at once\n", name, second)
		os.Exit(1)
	}()
	p := Process{Lookup: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr}
	if err := Run(ctx, name, commands, os.Args[1:], p); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
		os.Exit(1)
	}
}

// Run runs the command that args name.
func Run(ctx context.Context, name string, commands Commands, args []string, p Process) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(p.Stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(p.Stderr, "usage: %s [-version] [command]\ncommands: %s (none: serve)\n", name, named(commands))
	}
	version := flags.Bool("version", false, "print what this is")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version {
		// Without the checks of ReadService: it answers however wrong the rest is.
		v := config.ParsedOr(config.From(p.Lookup), "SERVICE_VERSION", "dev", config.String)
		_, err := fmt.Fprintf(p.Stdout, "%s %s %s %s/%s\n", name, v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	command, ok := commands[flags.Arg(0)]
	if !ok || flags.NArg() > 1 {
		return fmt.Errorf("unknown command %q: there are %s (none: serve)", strings.Join(flags.Args(), " "), named(commands))
	}
	return command(ctx, p)
}

func named(commands Commands) string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(commands)), func(name string) bool { return name == "" })
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
