package data

import (
	"embed"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/isolation"
	"platform.example/infra/kube"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// Common is what all stores are told.
type Common struct {
	Namespace *isolation.Namespace
	Rollout   cluster.Rollout
	Profile   profile.Profile
	// JobPriority is the PriorityClass of what only sets a store up: not one by which it would take a service's place.
	JobPriority pulumi.StringOutput
	Config      stack.Stack
	Services    []catalog.Service
	Authority   pulumi.StringOutput // PEM of who signs the certificates of stores in the cluster
}

// Folders and files in the pods of all stores.
const (
	certificateFolder = "/run/secrets/certificate" // tls.crt and tls.key
	adminFolder       = "/run/secrets/admin"
	passwordFile      = "password"
	authorityFile     = "authority.pem"
)

// named is the metadata of an object with a name for good.
func (c Common) named(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: c.Namespace.Name, Labels: kube.Labels(name)}
}

// generated leaves the name to Pulumi, so that changed content is a new object and whoever uses it follows.
func (c Common) generated(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Namespace: c.Namespace.Name, Labels: kube.Labels(name)}
}

// newService is the address of a store.
func (c Common) newService(ctx *pulumi.Context, name string, port int, opts ...pulumi.ResourceOption) (*corev1.Service, error) {
	tcp := corev1.ServicePortArgs{Name: pulumi.String("tcp"), Port: pulumi.Int(port)}
	return kube.NewService(ctx, name, c.named(name), kube.Labels(name), tcp, opts...)
}

// pod is what the pods of all stores have in common.
func (c Common) pod(account *corev1.ServiceAccount, container corev1.ContainerArgs, volumes corev1.VolumeArray) corev1.PodSpecArgs {
	pod := kube.Pod(c.Profile, user, account, c.Namespace.Priority, container)
	pod.Volumes = volumes
	return pod
}

// newSetup runs a script to its end that makes a store what it should be. Its name is generated, and so is the name of
// what it reads: anything that changes makes a new Job.
func (c Common) newSetup(
	ctx *pulumi.Context, name string, account *corev1.ServiceAccount, container corev1.ContainerArgs, volumes corev1.VolumeArray,
	opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	container.Name = pulumi.String(name)
	container.Resources = kube.Resources(20, 1000, 64*quantity.MiB) // it is over in a second or two
	pod := c.pod(account, container, volumes)
	pod.RestartPolicy = pulumi.String("Never")
	pod.PriorityClassName = c.JobPriority
	metadata := c.generated(name)
	metadata.Annotations = cluster.JobAnnotations()
	return batchv1.NewJob(ctx, name, &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(0), // the script itself is patient
			ActiveDeadlineSeconds: pulumi.Int(c.Rollout.JobSeconds()),
			Template:              template(name, pod),
		},
	}, append(opts, c.Rollout.Options()...)...)
}

// template makes pods that belong to what has their name.
func template(name string, pod corev1.PodSpecArgs) corev1.PodTemplateSpecArgs {
	return kube.Template(name, kube.Labels(name), 0, pod)
}

// limited is the resources of a store. It asks for a quarter of its CPU only, so that a small node can hold the
// platform.
func (c Common) limited(cpu quantity.CPU, memory quantity.Bytes) corev1.ResourceRequirementsArgs {
	return kube.Resources(c.Config.Requested(cpu/4), cpu, memory)
}

func environment(variables map[string]string) corev1.EnvVarArray {
	return kube.Variables(pulumi.ToStringMap(variables))
}

// The scripts of stores rely on /bin/sh and coreutils, on no image's entrypoint; those of Postgres also on PostgreSQL 15 where
// Debian puts it.
//
//go:embed postgres redis
var files embed.FS

// scripts is the content of files in a folder, and whatever else a ConfigMap has.
func scripts(folder string, names []string, more pulumi.StringMap) pulumi.StringMap {
	for _, name := range names {
		content, err := files.ReadFile(folder + "/" + name)
		if err != nil {
			panic(err) // a part of this program
		}
		more[name] = pulumi.String(content)
	}
	return more
}

func shell(script string) pulumi.StringArray {
	return pulumi.ToStringArray([]string{"/bin/sh", script})
}

// Probes of stores are patient: on a busy node even a shell takes seconds to start, and a store that is slow for a moment
// is not mended by a restart, which would make an outage of it. A second one doesn't stand by, either.
const (
	readySeconds, readyFailures = 10, 3
	aliveSeconds, aliveFailures = 30, 4
	probeTimeout                = 20 // seconds
)

// probe runs a shell command every so many seconds and gives up after so many failures in a row.
func probe(command string, seconds, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		Exec:             corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/sh", "-c", command})},
		PeriodSeconds:    pulumi.Int(seconds),
		TimeoutSeconds:   pulumi.Int(probeTimeout),
		FailureThreshold: pulumi.Int(failures),
	}
}

// scratch is a folder for sockets.
func scratch(name string) corev1.VolumeArgs { return kube.EmptyVolume(name, 16*quantity.MiB) }
