// Package service runs a service process: its subcommands, its signals, its configuration and its telemetry.
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

// Process is the environment of a command.
type Process struct {
	Lookup func(name string) (string, bool) // environment variables
	Stdout io.Writer
}

// Command runs until its work is done or ctx is done.
type Command func(ctx context.Context, p Process) error

// Commands maps the name of a subcommand to the command. The name "" stands for no subcommand.
type Commands map[string]Command

// gcPercent lets the heap grow to five times the live heap before a collection. The live heap is a few MiB,
// so the default of 100 would collect all the time. GOMEMLIMIT, which the platform sets, still holds.
const gcPercent = 400

// Main runs the command that the process arguments name, and exits with status 1 if the command fails. The
// first SIGTERM or SIGINT cancels the command's context; the second ends the process at once.
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

// Run runs the command that args name. It fails if commands has no such command.
func Run(ctx context.Context, commands Commands, args []string, p Process) error {
	subcommand := strings.Join(args, " ")
	command, ok := commands[subcommand]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(commands)), ", ")
		return fmt.Errorf("unknown command %q: use one of %s, or none to serve", subcommand, strings.TrimPrefix(names, ", "))
	}
	return command(ctx, p)
}
