// Command release makes versions live by blue/green and rolls them back. A plain `pulumi up` is a complete and safe release, too. This
// command adds progress, a watch on the new version with automatic rollback, history, an emergency rollback, and a report. It runs in
// the repository's root and needs pulumi on PATH.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"platform.example/infra/release/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command.Run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(1)
	case errors.Is(err, command.ErrRolledBack), errors.Is(err, command.ErrDrift):
		os.Exit(2) // the reason is printed already
	default:
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}
