package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"platform.example/infra/cluster"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
)

// again is how long a way that was lost waits before it is looked for again: a pod was replaced, or the network was away.
const again = 2 * time.Second

// forward leads to what the cluster has until ctx is done, and says where.
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
	ways := &ways{cluster: target, out: out}
	prometheus, err := ways.open(ctx, group, "Prometheus", network.Prometheus, network.PrometheusPort, freePort(network.PrometheusPort))
	if err != nil {
		return err
	}
	alertmanager, err := ways.open(ctx, group, "Alertmanager", network.Alertmanager, network.AlertmanagerPort, freePort(network.AlertmanagerPort))
	if err != nil {
		return err
	}
	ways.say("%s    Prometheus%s", prometheus, pages(ctx, prometheus.JoinPath("query")))
	ways.say("%s    Alertmanager", alertmanager)
	if hasGrafana {
		grafana, err := ways.open(ctx, group, "Grafana", network.Grafana, network.GrafanaPort, freePort(network.GrafanaPort))
		if err != nil {
			return err
		}
		ways.say("%s    Grafana: sign in as admin; the password is what `pulumi config get platform:grafanaAdminPassword --stack <stack>` says", grafana)
		ways.say("Ctrl-C ends this.")
	} else {
		group.Go(func() error {
			return draw(ctx, listen, prometheus, alertmanager, func(address string) {
				ways.say("http://%s    dashboards, drawn by the platform's own page: this cluster has no Grafana", address)
				ways.say("Ctrl-C ends this.")
			})
		})
	}
	return group.Wait()
}

// ways is the ways into one cluster.
type ways struct {
	cluster *cluster.Cluster
	mu      sync.Mutex
	out     io.Writer
}

func (w *ways) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = fmt.Fprintf(w.out, format+"\n", args...)
}

// open leads to a program of monitoring, as long as ctx and group live, and to the one after it when it is replaced. It
// returns once it leads there.
func (w *ways) open(ctx context.Context, group *errgroup.Group, title, name string, port, local int) (*url.URL, error) {
	ready := make(chan struct{}, 1)
	failed := make(chan error, 1)
	lead := func() error {
		return w.cluster.Forward(ctx, namespace.Monitoring, name, local, port, func() {
			select {
			case ready <- struct{}{}:
			default:
				w.say("%s is there again", title)
			}
		})
	}
	group.Go(func() error {
		err := lead()
		failed <- err
		for err != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(again):
			}
			err = lead()
		}
		return nil
	})
	select {
	case <-ready:
		ready <- struct{}{} // from now on it is there again
		return &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", local)}, nil
	case err := <-failed:
		return nil, err
	}
}

// freePort is the port that people know, or another one where somebody listens on that.
func freePort(known int) int {
	for _, port := range []int{known, 0} {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer func() { _ = listener.Close() }()
		return listener.Addr().(*net.TCPAddr).Port
	}
	return known
}

// pages says what somebody should know who opens Prometheus: where it was compiled from Go modules, it has no pages.
func pages(ctx context.Context, at *url.URL) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	_ = response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return ""
	}
	return " (its API below /api/v1; this build of it has no pages)"
}
