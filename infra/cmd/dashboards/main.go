// Command dashboards forwards Grafana, Prometheus and Alertmanager of a cluster to loopback addresses of this machine. Where the
// cluster has no Grafana, it serves a page that draws the same dashboards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var prometheus, alertmanager *url.URL
	flags := flag.NewFlagSet("dashboards", flag.ContinueOnError)
	kubeContext := flags.String("context", "", "context of the kubeconfig; without it, the current one")
	listen := flags.String("listen", "127.0.0.1:3000", "loopback address of the dashboards")
	flags.Func("prometheus", "URL of a Prometheus to draw the dashboards from, without a cluster", parseInto(&prometheus))
	flags.Func("alertmanager", "with -prometheus: URL of an Alertmanager; without it, the page lists no alerts", parseInto(&alertmanager))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: want flags only, as in: dashboards -context my-cluster", flags.Arg(0))
	}
	host, _, err := net.SplitHostPort(*listen)
	if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() {
		return fmt.Errorf("-listen: %q is not a loopback address with a port, such as 127.0.0.1:3000: the page has no sign-in", *listen)
	}
	if prometheus != nil {
		return serve(ctx, *listen, prometheus, alertmanager, func(address string) { fmt.Fprintf(out, "http://%s\n", address) })
	}
	if alertmanager != nil {
		return errors.New("-alertmanager needs -prometheus; without both, the command finds those of the cluster")
	}
	return forward(ctx, *kubeContext, *listen, out)
}

// parseInto returns a function that parses the value of a flag into at.
func parseInto(at **url.URL) func(string) error {
	return func(text string) error {
		parsed, err := url.Parse(text)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			return errors.New("want a URL such as http://127.0.0.1:9090")
		}
		*at = parsed
		return nil
	}
}

// serve serves the page until ctx is done. It calls ready once the page accepts connections.
func serve(ctx context.Context, listen string, prometheus, alertmanager *url.URL, ready func(address string)) error {
	dashboards, err := dashboard.All(catalog.Services())
	if err != nil {
		return err
	}
	page, err := newPage(dashboards, prometheus, alertmanager)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("-listen: %w: stop the program that uses the port, or choose another port", err)
	}
	ready(listener.Addr().String())
	server := &http.Server{Handler: page, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// retryInterval is the time between two attempts to reconnect, after a pod was replaced or the network failed.
const retryInterval = 2 * time.Second

// forward forwards the cluster's monitoring until ctx is done, and prints the addresses.
func forward(ctx context.Context, kubeContext, listen string, out io.Writer) error {
	target, err := cluster.Target{Context: kubeContext}.Connect(ctx)
	if err != nil {
		return err
	}
	if err := target.FindNamespaces(ctx); err != nil {
		return err
	}
	hasGrafana, err := target.Has(ctx, namespace.Monitoring, network.Grafana)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	printer := log.New(out, "", 0)
	// open forwards a port, and reconnects when the connection is lost. It returns once the port accepts connections.
	open := func(name string, port int) (*url.URL, error) {
		local, connected, first := freePort(port), false, make(chan error, 1)
		group.Go(func() error {
			for ctx.Err() == nil {
				err := target.Forward(ctx, namespace.Monitoring, name, local, port, func(int) {
					if connected {
						printer.Printf("%s answers again", name)
						return
					}
					connected = true
					first <- nil
				})
				if !connected {
					first <- err
					return err
				}
				select {
				case <-ctx.Done():
				case <-time.After(retryInterval):
				}
			}
			return nil
		})
		return &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", local)}, <-first
	}
	prometheus, err := open(network.Prometheus, network.PrometheusPort)
	if err != nil {
		return err
	}
	alertmanager, err := open(network.Alertmanager, network.AlertmanagerPort)
	if err != nil {
		return err
	}
	hint := ""
	if response, err := http.Get(prometheus.JoinPath("query").String()); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK { // a Prometheus that was compiled from Go modules has no pages
			hint = " (its API below /api/v1; this build of it has no pages)"
		}
	}
	printer.Printf("%s    Prometheus%s", prometheus, hint)
	printer.Printf("%s    Alertmanager", alertmanager)
	if hasGrafana {
		grafana, err := open(network.Grafana, network.GrafanaPort)
		if err != nil {
			return err
		}
		printer.Printf("%s    Grafana: sign in as admin; "+
			"`pulumi config get platform:grafanaAdminPassword --stack <stack>` prints the password", grafana)
		printer.Print("Ctrl-C ends this.")
	} else {
		group.Go(func() error {
			return serve(ctx, listen, prometheus, alertmanager, func(address string) {
				printer.Printf("http://%s    dashboards, drawn by the platform's own page: this cluster has no Grafana", address)
				printer.Print("Ctrl-C ends this.")
			})
		})
	}
	return group.Wait()
}

// freePort returns the known port if it is free, and another port otherwise.
func freePort(known int) int {
	for _, port := range []int{known, 0} {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return listener.Addr().(*net.TCPAddr).Port
		}
	}
	return known
}
