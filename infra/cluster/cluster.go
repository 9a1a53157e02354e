// Package cluster connects to the Kubernetes cluster of a stack, checks that it belongs to the stack, and explains why a workload
// isn't ready.
package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"platform.example/infra/namespace"
	"platform.example/infra/objectref"
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
		return nil, fmt.Errorf("the cluster of platform:kubeContext %q doesn't respond: is it running, and are kubeconfig and "+
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

// Output is the name of the stack output that records the ID of the stack's cluster.
const Output = "cluster"

// Own returns an error unless the cluster has the recorded ID, if any, and its namespaces belong to this stack or to none.
func (c *Cluster) Own(ctx *pulumi.Context, recorded string) error {
	if recorded != "" && recorded != c.id {
		return fmt.Errorf("stack %s is on the cluster %s, but platform:kubeContext %q leads to the cluster %s: set kubeContext and "+
			"kubeconfig to the stack's own; if that cluster was deleted, run `pulumi stack rm --force --preserve-config %s` and "+
			"`pulumi stack init %[5]s`", ctx.Stack(), recorded, c.target.Context, c.id, ctx.Stack())
	}
	return c.Settled(ctx.Context(), ctx.Stack())
}

// Settled returns an error if the namespace apps of this stack's prefix belongs to another stack.
func (c *Cluster) Settled(ctx context.Context, stack string) error {
	owner, err := c.settler(ctx)
	if err != nil {
		return fmt.Errorf("stack %s: %w", stack, err)
	}
	if owner != "" && owner != stack {
		return fmt.Errorf("stack %s: platform:kubeContext %q leads to the cluster of stack %s: two stacks can't share one: "+
			"set kubeContext and kubeconfig to the cluster of this stack", stack, c.target.Context, owner)
	}
	return nil
}

// settler returns the stack that owns the namespace apps of this prefix, or an empty string.
func (c *Cluster) settler(ctx context.Context) (string, error) {
	owner, _, err := c.owner(ctx, objectref.Ref{APIVersion: "v1", Kind: "Namespace", Name: c.namespace(namespace.Apps)})
	return owner, err
}

// FindNamespaces sets the namespace prefix to that of the only stack on the cluster.
func (c *Cluster) FindNamespaces(ctx context.Context) error {
	namespaces, err := c.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the namespaces: %w", err)
	}
	var found []string
	for _, one := range namespaces.Items {
		if _, owned := one.Annotations[namespace.StackAnnotation]; owned && strings.HasSuffix(one.Name, string(namespace.Monitoring)) {
			found = append(found, one.Name)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("want one namespace that ends in %q and carries the annotation %s, found %d: %s",
			namespace.Monitoring, namespace.StackAnnotation, len(found), strings.Join(found, ", "))
	}
	c.target.Namespaces = namespace.Prefix(strings.TrimSuffix(found[0], string(namespace.Monitoring)))
	return nil
}
