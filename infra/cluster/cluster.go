// Package cluster connects to the Kubernetes cluster of a stack, knows whether it is the stack's own, and says why
// something there doesn't get ready.
package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	provider "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"platform.example/infra/namespace"
)

// Target is a context of a kubeconfig file. Empty strings mean the usual files and the current context.
type Target struct {
	Kubeconfig string // path
	Context    string
	Namespaces namespace.Prefix
}

// Cluster is a target whose API server answers.
type Cluster struct {
	target Target
	config *rest.Config // without a timeout: a port-forward stays open
	client kubernetes.Interface
	// metadata reads what objects of all kinds have in common.
	metadata metadata.Interface
	id       string
	times    leaseTimes
}

// answerTime is how long an API server may take to answer.
const answerTime = 10 * time.Second

// Connect reads the kubeconfig and the ID of the cluster, so that a program can fail before its first resource.
func (t Target) Connect(ctx context.Context) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = t.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		rules, &clientcmd.ConfigOverrides{CurrentContext: t.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w: set platform:kubeconfig to the file, and platform:kubeContext to one of its contexts", err)
	}
	cluster := &Cluster{target: t, config: rest.CopyConfig(config), times: defaultLeaseTimes}
	config.Timeout, config.QPS = answerTime, -1 // the API server itself limits requests
	config.ContentType = runtime.ContentTypeJSON
	klog.SetLogger(logr.Discard()) // client-go returns what it logs
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

// ID identifies the cluster: the UID of namespace kube-system, which lives as long as the cluster.
func (c *Cluster) ID() string { return c.id }

// namespace is the name on the cluster of one of the platform's namespaces.
func (c *Cluster) namespace(name namespace.Name) string { return c.target.Namespaces.Of(name) }

// Provider is Pulumi's way to the cluster.
func (t Target) Provider(ctx *pulumi.Context) (*provider.Provider, error) {
	args := &provider.ProviderArgs{
		EnableServerSideApply: pulumi.Bool(true),
		// A Secret that isn't marked as immutable keeps its name, and its readers run on.
		EnableSecretMutable: pulumi.Bool(true),
		// It asks the API server once for each resource, and by itself no more than 50 times a second.
		KubeClientSettings: provider.KubeClientSettingsArgs{Qps: pulumi.Float64(500), Burst: pulumi.Int(1000)},
	}
	if t.Kubeconfig != "" {
		args.Kubeconfig = pulumi.String(t.Kubeconfig)
	}
	if t.Context != "" {
		args.Context = pulumi.String(t.Context)
	}
	return provider.NewProvider(ctx, "cluster", args)
}
