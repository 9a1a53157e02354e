package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Forward leads from a port of this machine's loopback address to that port of the first ready pod of a name, until ctx is
// done or the way is lost. Ready is called once it leads there.
func (c *Cluster) Forward(ctx context.Context, place, name string, local, port int, ready func()) error {
	pod, err := c.readyPod(ctx, place, name)
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	at := c.server.JoinPath("/api/v1/namespaces", place, "pods", pod, "portforward")
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	var complaints bytes.Buffer
	stop, started := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, port)},
		stop, started, io.Discard, &complaints)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	for {
		select {
		case <-started:
			ready()
			started = nil
		case err := <-ended:
			if err == nil {
				err = errors.New("the connection to the cluster is gone")
			}
			return fmt.Errorf("forward to %s: %w %s", name, err, strings.TrimSpace(complaints.String()))
		case <-ctx.Done():
			close(stop)
			<-ended
			return nil
		}
	}
}

// Has reports whether a namespace has a Service of that name.
func (c *Cluster) Has(ctx context.Context, place, name string) (bool, error) {
	var service corev1.Service
	err := c.get(ctx, "/api/v1/namespaces/"+place+"/services/"+name, &service)
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (c *Cluster) readyPod(ctx context.Context, place, name string) (string, error) {
	selector := url.Values{"labelSelector": {"app.kubernetes.io/name=" + name}}
	var pods corev1.PodList
	if err := c.get(ctx, "/api/v1/namespaces/"+place+"/pods?"+selector.Encode(), &pods); err != nil {
		return "", err
	}
	for _, pod := range pods.Items {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
				return pod.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no pod of %s in namespace %s is ready: see `kubectl get pods --namespace %s`", name, place, place)
}
