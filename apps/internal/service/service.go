// Package service is the process around a service: its commands, its signals
// and what it says of itself.
package service

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // the image holds no time zones

	_ "golang.org/x/crypto/x509roots/fallback" // the image holds no CA roots
)

// Process is what a command has of the process it runs in.
type Process struct {
	Lookup func(name string) (string, bool) // environment variables
	Stdout io.Writer
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
// SIGTERM or SIGINT asks it to stop, the second ends the process at once.
func Main(name string, commands Commands) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	if err := Run(ctx, commands, os.Args[1:], Process{Lookup: os.LookupEnv, Stdout: os.Stdout}); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Run runs the command that args name.
func Run(ctx context.Context, commands Commands, args []string, p Process) error {
	asked := strings.Join(args, " ")
	command, ok := commands[asked]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(commands)), ", ")
		return fmt.Errorf("unknown command %q: there are %s (none: serve)", asked, strings.TrimPrefix(names, ", "))
	}
	return command(ctx, p)
}
