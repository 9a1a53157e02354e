// Package cluster connects to the Kubernetes cluster of a stack, knows whether it is the stack's own, and says why
// something there doesn't get ready.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Target is a cluster: a context of a kubeconfig file. Empty strings mean the usual places and the current context.
type Target struct {
	Kubeconfig string // path
	Context    string
}

// Cluster is a target that has answered.
type Cluster struct {
	target Target
	config *rest.Config
	client *http.Client
	server *url.URL
	id     string
}

// answerTime is how long an API server may take for an answer.
const answerTime = 10 * time.Second

// Connect finds the target's API server and asks it who it is, so that a program can end before its first resource.
func (t Target) Connect(ctx context.Context) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = t.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		rules, &clientcmd.ConfigOverrides{CurrentContext: t.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w: set platform:kubeconfig to the file, and platform:kubeContext to one of its contexts", err)
	}
	cluster := &Cluster{target: t, config: rest.CopyConfig(config)} // a way that is held open isn't bound by the time for an answer
	config.Timeout = answerTime
	if cluster.client, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if cluster.server, _, err = rest.DefaultServerUrlFor(config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	var system corev1.Namespace
	if err := cluster.get(ctx, "/api/v1/namespaces/kube-system", &system); err != nil {
		return nil, fmt.Errorf("the cluster of platform:kubeContext %q doesn't answer: is it running, and are kubeconfig and "+
			"kubeContext those of this stack? %w", t.Context, err)
	}
	cluster.id = string(system.UID)
	return cluster, nil
}

// ID tells clusters apart: the UID of namespace kube-system, which lives as long as the cluster.
func (c *Cluster) ID() string { return c.id }

// Provider is Pulumi's way to the cluster.
func (t Target) Provider(ctx *pulumi.Context) (*kubernetes.Provider, error) {
	args := &kubernetes.ProviderArgs{
		EnableServerSideApply: pulumi.Bool(true),
		// A Secret that isn't marked as immutable keeps its name, and its readers run on.
		EnableSecretMutable: pulumi.Bool(true),
		// It asks the API server once for each resource, and by itself no more than 50 times a second.
		KubeClientSettings: kubernetes.KubeClientSettingsArgs{Qps: pulumi.Float64(500), Burst: pulumi.Int(1000)},
	}
	if t.Kubeconfig != "" {
		args.Kubeconfig = pulumi.String(t.Kubeconfig)
	}
	if t.Context != "" {
		args.Context = pulumi.String(t.Context)
	}
	return kubernetes.NewProvider(ctx, "cluster", args)
}

// errNotFound is the API server's answer 404, errConflict its answer 409: somebody else was quicker.
var (
	errNotFound = errors.New("not found")
	errConflict = errors.New("somebody else has changed it")
)

// get reads an object of the API.
func (c *Cluster) get(ctx context.Context, path string, into any) error {
	body, err := c.read(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s%s: %w", c.server, path, err)
	}
	return nil
}

// read is the answer to a path and query of the API, up to 8 MiB.
func (c *Cluster) read(ctx context.Context, path string) ([]byte, error) {
	return c.send(ctx, http.MethodGet, path, "", nil)
}

// send asks the API, with a body where there is one, and returns up to 8 MiB of the answer.
func (c *Cluster) send(ctx context.Context, method, path, contentType string, content any) ([]byte, error) {
	reference, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	address := c.server.JoinPath(reference.Path)
	address.RawQuery = reference.RawQuery
	var sent io.Reader
	if content != nil {
		text, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), sent)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if content != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", address, err)
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", address, errNotFound)
	case response.StatusCode == http.StatusConflict:
		return nil, fmt.Errorf("%s: %w", address, errConflict)
	case response.StatusCode >= http.StatusMultipleChoices:
		return nil, fmt.Errorf("%s answers %s", address, response.Status)
	default:
		return body, nil
	}
}
