// Command dashboards forwards Grafana, Prometheus and Alertmanager of a cluster to loopback addresses of this machine. Where the
// cluster has no Grafana, it serves a page that draws the same dashboards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"platform.example/infra/monitoring/page"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := page.Run(ctx, os.Args[1:], os.Stdout, forward)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}
