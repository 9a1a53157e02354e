package page

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/dashboard"
)

// Forward forwards the monitoring of the cluster of a context until ctx is done, and prints the addresses to out.
type Forward func(ctx context.Context, kubeContext, listen string, out io.Writer) error

// Run is the command dashboards. It serves the page, or calls forward if the arguments name no Prometheus.
func Run(ctx context.Context, args []string, out io.Writer, forward Forward) error {
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
		return Serve(ctx, *listen, prometheus, alertmanager, func(address string) { fmt.Fprintf(out, "http://%s\n", address) })
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

// Serve serves the page until ctx is done. It calls ready once the page accepts connections.
func Serve(ctx context.Context, listen string, prometheus, alertmanager *url.URL, ready func(address string)) error {
	page, err := newPage(dashboard.All(catalog.Services()), prometheus, alertmanager)
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
