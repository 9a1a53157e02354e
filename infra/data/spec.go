// Package data creates the platform's stores, Postgres and Redis, or uses external ones. Services connect by an Endpoint.
package data

import (
	"net"
	"strconv"
	"strings"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data/server"
	"platform.example/infra/isolation"
	"platform.example/infra/kube"
	"platform.example/infra/namespace"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// Common are the common arguments of all stores.
type Common struct {
	Namespace *isolation.Namespace
	Rollout   cluster.Rollout
	Profile   profile.Profile
	// JobPriority is the PriorityClass of set-up Jobs, which must not preempt services.
	JobPriority pulumi.StringOutput
	Config      stack.Stack
	Services    []catalog.Service
	Authority   pulumi.StringOutput // PEM of the stack's own authority
}

// named is the metadata of an object with a fixed name.
func (c Common) named(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: c.Namespace.Name, Labels: kube.Labels(name)}
}

// generated is the metadata of an object with a generated name. Changed content creates a new object and restarts its users.
func (c Common) generated(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Namespace: c.Namespace.Name, Labels: kube.Labels(name)}
}

// host is the DNS name of a store in the cluster.
func (c Common) host(store string) string {
	return c.Config.NamespacePrefix.Host(store, namespace.Data)
}

// newService creates the Service of a store.
func (c Common) newService(ctx *pulumi.Context, name string, port int, opts ...pulumi.ResourceOption) (*corev1.Service, error) {
	tcp := corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String("tcp"), Port: pulumi.Int(port)}}
	return kube.NewService(ctx, name, c.named(name), corev1.ServiceSpecArgs{Selector: kube.Labels(name), Ports: tcp}, opts...)
}

// pod is the common pod of all stores.
func (c Common) pod(account *corev1.ServiceAccount, container corev1.ContainerArgs, volumes corev1.VolumeArray) corev1.PodSpecArgs {
	pod := kube.Pod(c.Profile, user, account, c.Namespace.Priority, container)
	pod.Volumes = volumes
	return pod
}

// newSetup creates a Job of an owner that runs a script to set up a store. Its name and those of its inputs are generated, so that any change
// creates a new Job.
func (c Common) newSetup(
	ctx *pulumi.Context, name, owner string, account *corev1.ServiceAccount, container corev1.ContainerArgs, volumes corev1.VolumeArray,
	opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	container.Name = pulumi.String(name)
	container.Resources = kube.Resources(20, 1000, 64*quantity.MiB) // it runs for a second or two
	pod := c.pod(account, container, volumes)
	pod.RestartPolicy = pulumi.String("Never")
	pod.PriorityClassName = c.JobPriority
	metadata := c.generated(name)
	metadata.Annotations = cluster.JobAnnotations()
	return batchv1.NewJob(ctx, name, &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(0), // the script retries itself
			ActiveDeadlineSeconds: pulumi.Int(c.Rollout.JobSeconds()),
			Template:              template(owner, pod),
		},
	}, append(opts, c.Rollout.Options()...)...)
}

// template is the template of pods with this owner.
func template(name string, pod corev1.PodSpecArgs) corev1.PodTemplateSpecArgs {
	return kube.Template(name, kube.Labels(name), 0, pod)
}

// limited is the resources of a store. It requests only a quarter of its CPU, so that the platform fits on a small node.
func (c Common) limited(cpu quantity.CPU, memory quantity.Bytes) corev1.ResourceRequirementsArgs {
	return kube.Resources(c.Config.Requested(cpu/4), cpu, memory)
}

// scripts adds the files of a folder to the content of a ConfigMap.
func scripts(folder string, names []string, more pulumi.StringMap) pulumi.StringMap {
	for _, name := range names {
		more[name] = pulumi.String(server.Script(folder + "/" + name))
	}
	return more
}

func shell(script string) pulumi.StringArray {
	return pulumi.ToStringArray([]string{"/bin/sh", script})
}

// Probes of stores are patient: on a busy node even a shell takes seconds to start. A restart doesn't fix a slow store, but causes an
// outage, since a store has only one replica.
const (
	readySeconds, readyFailures = 10, 3
	aliveSeconds, aliveFailures = 30, 4
	probeTimeout                = 20 // seconds
)

// probe runs a shell command with this period in seconds. It fails after that many consecutive failures.
func probe(command string, seconds, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		Exec:             corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/sh", "-c", command})},
		PeriodSeconds:    pulumi.Int(seconds),
		TimeoutSeconds:   pulumi.Int(probeTimeout),
		FailureThreshold: pulumi.Int(failures),
	}
}

// secureProbe is a probe over HTTPS with this period in seconds.
func secureProbe(path string, port, seconds, failures int) corev1.ProbeArgs {
	probe := kube.Probe(path, pulumi.Int(port), 5, seconds, failures)
	probe.HttpGet = corev1.HTTPGetActionArgs{Path: pulumi.String(path), Port: pulumi.Int(port), Scheme: pulumi.String("HTTPS")}
	return probe
}

// scratch is a folder for sockets.
func scratch(name string) corev1.VolumeArgs { return kube.EmptyVolume(name, 16*quantity.MiB) }

// Endpoint is a service's connection to a store, which uses TLS.
type Endpoint struct {
	Host      string
	Direct    string // host for sessions that a pooler at Host doesn't keep; empty without a pooler
	Port      int
	Instances []string            // hosts of a Redis; each of several has a Sentinel
	User      pulumi.StringOutput // empty for a Redis with only a password
	Password  pulumi.StringOutput // secret
	Authority pulumi.StringOutput // PEM of the store's authority; empty for the system's roots
	Ready     []pulumi.Resource   // resources that must exist before the service starts
}

// user is the user id of the stores' processes and files in their images.
const user = 999

// elsewhere is the endpoint of an external store. The stack has checked its address.
func elsewhere(store stack.Store) Endpoint {
	host, text, _ := net.SplitHostPort(store.Address)
	port, _ := strconv.Atoi(text)
	return Endpoint{Host: host, Port: port, Instances: []string{host}, Authority: pulumi.String(store.CertificateAuthority).ToStringOutput()}
}

// inUse is the first password in a secret. Clients send it, while servers accept all passwords.
func inUse(secret pulumi.StringOutput) pulumi.StringOutput {
	return secret.ApplyT(func(list string) string {
		password, _, _ := strings.Cut(list, ",")
		return password
	}).(pulumi.StringOutput)
}
