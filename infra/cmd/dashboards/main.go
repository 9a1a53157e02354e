// Command dashboards leads to Grafana, Prometheus and Alertmanager in the cluster from addresses of this machine that no
// other reaches. Where the cluster has no Grafana it draws the dashboards itself: it has the very same values that Grafana
// would be given, and asks Prometheus their queries.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/dashboard"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("dashboards", flag.ContinueOnError)
	kubeContext := flags.String("context", "", "context of the kubeconfig; without it, the current one")
	prometheus := flags.String("prometheus", "", "where Prometheus answers, such as http://127.0.0.1:9090: draw the page over it, without a cluster")
	alertmanager := flags.String("alertmanager", "", "with -prometheus: where Alertmanager answers; without it, alerts are those that Prometheus holds to be true")
	listen := flags.String("listen", "127.0.0.1:3000", "where the dashboards are: an address of this machine that no other reaches")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? Want flags only, as in: dashboards -context my-cluster", flags.Arg(0))
	}
	if err := loopback(*listen); err != nil {
		return err
	}
	if *prometheus == "" {
		if *alertmanager != "" {
			return errors.New("-alertmanager goes with -prometheus; without both, the cluster's are found")
		}
		return forward(ctx, *kubeContext, *listen, out)
	}
	at, err := source("-prometheus", *prometheus)
	if err != nil {
		return err
	}
	alerts := &url.URL{}
	if *alertmanager != "" {
		if alerts, err = source("-alertmanager", *alertmanager); err != nil {
			return err
		}
	}
	return draw(ctx, *listen, at, alerts, func(address string) { _, _ = fmt.Fprintf(out, "http://%s\n", address) })
}

// draw serves the page until ctx is done.
func draw(ctx context.Context, listen string, prometheus, alertmanager *url.URL, ready func(address string)) error {
	dashboards, err := dashboard.All(catalog.Services())
	if err != nil {
		return err
	}
	page, err := newPage(dashboards, prometheus, alertmanager)
	if err != nil {
		return err
	}
	return serve(ctx, listen, page, ready)
}

// source reads a flag that says where something answers.
func source(name, text string) (*url.URL, error) {
	at, err := url.Parse(text)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%s: %q is not an address such as http://127.0.0.1:9090", name, text)
	}
	return at, nil
}

// loopback refuses an address that others reach. Whoever reaches the page sees all that Prometheus knows.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("-listen: %q is not a loopback address with a port, such as 127.0.0.1:3000: the page asks nobody who they are", address)
	}
	return nil
}

// serve answers until ctx is done.
func serve(ctx context.Context, address string, handler http.Handler, ready func(address string)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("-listen: %w: end who listens there, or take another port", err)
	}
	ready(listener.Addr().String())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(soon)
}
