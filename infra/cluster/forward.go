package cluster

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"platform.example/infra/namespace"
	"platform.example/infra/objectref"
)

// connectTime is the timeout of a connection to a pod.
const connectTime = 15 * time.Second

// Forward forwards a port of 127.0.0.1 to a port of the first ready pod with that name, until ctx is done or the connection is lost. If
// local is 0, it uses a free port. It returns the local port once that accepts connections, and a channel for the end.
func (c *Cluster) Forward(ctx context.Context, in namespace.Name, name string, local, port int) (int, <-chan error, error) {
	namespace := c.namespace(in)
	pod, err := c.readyPod(ctx, namespace, name)
	if err != nil {
		return 0, nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return 0, nil, fmt.Errorf("kubeconfig: %w", err)
	}
	at := c.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	var messages bytes.Buffer
	started, ended := make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, port)},
		ctx.Done(), started, io.Discard, &messages)
	if err != nil {
		return 0, nil, fmt.Errorf("forward to %s: %w", name, err)
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-started:
		ports, err := forwarder.GetPorts()
		if err != nil {
			return 0, nil, fmt.Errorf("forward to %s: %w", name, err)
		}
		return int(ports[0].Local), ended, nil
	case err = <-ended:
		return 0, nil, fmt.Errorf("forward to %s: %w %s", name, cmp.Or(err, ctx.Err()), strings.TrimSpace(messages.String()))
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	case <-time.After(connectTime):
		return 0, nil, fmt.Errorf("forward to %s: it doesn't respond", name)
	}
}

// Has reports whether a namespace has a Service with that name.
func (c *Cluster) Has(ctx context.Context, in namespace.Name, name string) (bool, error) {
	_, exists, err := c.owner(ctx, objectref.Ref{APIVersion: "v1", Kind: "Service", Namespace: c.namespace(in), Name: name})
	return exists, err
}

func (c *Cluster) readyPod(ctx context.Context, namespace, name string) (string, error) {
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + "=" + name})
	if err != nil {
		return "", err
	}
	for _, pod := range pods.Items {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
				return pod.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no pod of %s in namespace %s is ready: see `kubectl get pods --namespace %[2]s`", name, namespace)
}
