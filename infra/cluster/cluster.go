// Package cluster connects to the Kubernetes cluster of a stack, checks that it belongs to the stack, and explains why a workload
// isn't ready.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"

	"platform.example/infra/namespace"
)

// Target is a context of a kubeconfig file. Empty strings mean the default files and the current context.
type Target struct {
	Kubeconfig string // path
	Context    string
	Namespaces namespace.Prefix
}

// Cluster is a connection to a target's API server.
type Cluster struct {
	target Target
	config *rest.Config // without a timeout, for port forwards
	client kubernetes.Interface
	// metadata reads the metadata of objects of all kinds.
	metadata metadata.Interface
	id       string
	times    leaseTimes
}

// answerTime is the timeout of requests to the API server.
const answerTime = 10 * time.Second

func init() { klog.SetLogger(logr.Discard()) } // client-go returns what it logs

// Connect reads the kubeconfig and the ID of the cluster. The Pulumi program calls it first, to fail before its first resource.
func (t Target) Connect(ctx context.Context) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = t.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		rules, &clientcmd.ConfigOverrides{CurrentContext: t.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w: set platform:kubeconfig to the file, and platform:kubeContext to one of its contexts", err)
	}
	cluster := &Cluster{target: t, config: rest.CopyConfig(config), times: defaultLeaseTimes}
	config.Timeout, config.QPS = answerTime, -1 // the API server limits requests itself
	config.ContentType = runtime.ContentTypeJSON
	if cluster.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if cluster.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	system, err := cluster.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("the cluster of platform:kubeContext %q doesn't answer: is it running, and are kubeconfig and "+
			"kubeContext those of this stack? %w", t.Context, err)
	}
	cluster.id = string(system.UID)
	return cluster, nil
}

// ID is the UID of namespace kube-system, which exists as long as the cluster.
func (c *Cluster) ID() string { return c.id }

// namespace is the name of a namespace with the stack's prefix.
func (c *Cluster) namespace(name namespace.Name) string { return c.target.Namespaces.Of(name) }

// Certificate returns the certificate and the key of a Secret in PEM, or an empty string if the Secret doesn't exist.
func (c *Cluster) Certificate(ctx context.Context, namespace, name string) (string, error) {
	secret, err := c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the certificate of Secret %s/%s: %w", namespace, name, err)
	}
	return string(secret.Data[corev1.TLSCertKey]) + string(secret.Data[corev1.TLSPrivateKeyKey]), nil
}

// Forward forwards a port of 127.0.0.1 to a port of the first ready pod with that name, until ctx is done or the connection is lost.
// If local is 0, it uses a free port. It calls ready with the local port once that accepts connections.
func (c *Cluster) Forward(ctx context.Context, in namespace.Name, name string, local, port int, ready func(local int)) error {
	namespace := c.namespace(in)
	pod, err := c.readyPod(ctx, namespace, name)
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	at := c.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	var messages bytes.Buffer
	stop, started := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, port)},
		stop, started, io.Discard, &messages)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	for {
		select {
		case <-started:
			ports, err := forwarder.GetPorts()
			if err != nil {
				return fmt.Errorf("forward to %s: %w", name, err)
			}
			ready(int(ports[0].Local))
			started = nil
		case err := <-ended:
			if err == nil {
				err = errors.New("the connection to the cluster was lost")
			}
			return fmt.Errorf("forward to %s: %w %s", name, err, strings.TrimSpace(messages.String()))
		case <-ctx.Done():
			close(stop)
			<-ended
			return nil
		}
	}
}

// Has reports whether a namespace has a Service with that name.
func (c *Cluster) Has(ctx context.Context, in namespace.Name, name string) (bool, error) {
	_, err := c.client.CoreV1().Services(c.namespace(in)).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
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
