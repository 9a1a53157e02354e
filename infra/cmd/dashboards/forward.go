package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"platform.example/infra/cluster"
	"platform.example/infra/monitoring/page"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
)

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
		local, lost, err := target.Forward(ctx, namespace.Monitoring, name, port, port)
		if err != nil { // another program may use this port
			local, lost, err = target.Forward(ctx, namespace.Monitoring, name, 0, port)
		}
		if err != nil {
			return nil, err
		}
		group.Go(func() error {
			<-lost
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(retryInterval):
				}
				if _, lost, err := target.Forward(ctx, namespace.Monitoring, name, local, port); err == nil {
					printer.Printf("%s responds again", name)
					<-lost
				}
			}
			return nil
		})
		return &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", local)}, nil
	}
	prometheus, err := open(network.Prometheus, network.PrometheusPort)
	if err != nil {
		return err
	}
	alertmanager, err := open(network.Alertmanager, network.AlertmanagerPort)
	if err != nil {
		return err
	}
	printer.Printf("%s    Prometheus (a build from Go modules has only its API, below /api/v1)", prometheus)
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
			return page.Serve(ctx, listen, prometheus, alertmanager, func(address string) {
				printer.Printf("http://%s    dashboards, drawn by the platform's own page: this cluster has no Grafana", address)
				printer.Print("Ctrl-C ends this.")
			})
		})
	}
	return group.Wait()
}
