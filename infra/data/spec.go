package data

import (
	"maps"
	"slices"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
	"platform.example/infra/isolation"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/resources"
	"platform.example/infra/restricted"
	"platform.example/infra/secret"
)

// Common is what all stores are told.
type Common struct {
	Namespace *isolation.Namespace
	Rollout   cluster.Rollout
	Profile   profile.Profile
	// JobPriority is the PriorityClass of what only sets a store up: not one by which it would take a service's place.
	JobPriority pulumi.StringOutput
	Prefix      namespace.Prefix                // of the namespaces' names
	Requested   func(quantity.CPU) quantity.CPU // what is asked for on this stack instead
	Authority   pulumi.StringOutput             // PEM of who signs the certificates of stores in the cluster
}

// Folders and files in the pods of all stores.
const (
	certificateFolder = "/run/secrets/certificate" // tls.crt and tls.key
	adminFolder       = "/run/secrets/admin"
	passwordFile      = "password"
	authorityFile     = "authority.pem"
)

func labels(name string) pulumi.StringMap {
	return pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(name)}
}

// podLabels adds to whom the pod belongs.
func podLabels(name string) pulumi.StringMap {
	return pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(name), network.Label: pulumi.String(name)}
}

// named is the metadata of an object with a name for good.
func (c Common) named(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: c.Namespace.Name, Labels: labels(name)}
}

// generated leaves the name to Pulumi, so that changed content is a new object and whoever uses it follows.
func (c Common) generated(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Namespace: c.Namespace.Name, Labels: labels(name)}
}

// newService is the address of a store. Pulumi doesn't wait for it: it waits for the pods behind it already.
func (c Common) newService(
	ctx *pulumi.Context, name string, port int, opts ...pulumi.ResourceOption,
) (*corev1.Service, error) {
	metadata := c.named(name)
	metadata.Annotations = pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")}
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: metadata,
		Spec: corev1.ServiceSpecArgs{
			Selector: labels(name),
			Ports:    corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String("tcp"), Port: pulumi.Int(port)}},
		},
	}, opts...)
}

// newAccount is the account of a store's pods, which may do nothing.
func (c Common) newAccount(
	ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption,
) (*corev1.ServiceAccount, error) {
	return corev1.NewServiceAccount(ctx, name, &corev1.ServiceAccountArgs{
		Metadata:                     c.named(name),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
}

// newCertificate is a server's certificate. It keeps its name when it is renewed: the server reads it again by itself. Between
// updates a CronJob renews it, so that an update has to take the fields back.
func (c Common) newCertificate(
	ctx *pulumi.Context, name string, certificate secret.Certificate, opts ...pulumi.ResourceOption,
) (*corev1.Secret, error) {
	metadata := c.named(name + "-certificate")
	metadata.Annotations = pulumi.StringMap{"pulumi.com/patchForce": pulumi.String("true")}
	return corev1.NewSecret(ctx, name+"-certificate", &corev1.SecretArgs{
		Metadata:   metadata,
		Type:       pulumi.String("kubernetes.io/tls"),
		StringData: pulumi.StringMap{"tls.crt": certificate.Certificate, "tls.key": certificate.Key},
	}, opts...)
}

// pod is what the pods of all stores have in common.
func (c Common) pod(account *corev1.ServiceAccount, container corev1.ContainerArgs, volumes corev1.VolumeArray) corev1.PodSpecArgs {
	return restricted.Pod(c.Profile, user, corev1.PodSpecArgs{
		ServiceAccountName:           account.Metadata.Name(),
		AutomountServiceAccountToken: pulumi.Bool(false),
		EnableServiceLinks:           pulumi.Bool(false),
		PriorityClassName:            c.Namespace.Priority,
		Containers:                   corev1.ContainerArray{container},
		Volumes:                      volumes,
	})
}

// newSetup runs a script to its end that makes a store what it should be. Its name is generated, and so is the name of
// what it reads: anything that changes makes a new Job.
func (c Common) newSetup(
	ctx *pulumi.Context, name string, account *corev1.ServiceAccount, container corev1.ContainerArgs, volumes corev1.VolumeArray,
	opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	container.Name = pulumi.String(name)
	container.Resources = resources.New(20, 1000, 64*quantity.MiB) // it is over in a second or two
	container.SecurityContext = restricted.Container()
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
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: podLabels(name)},
				Spec:     pod,
			},
		},
	}, append(opts, c.Rollout.Options()...)...)
}

// limited is the resources of a store. It asks for a quarter of its CPU only, so that a small node can hold the
// platform.
func (c Common) limited(cpu quantity.CPU, memory quantity.Bytes) corev1.ResourceRequirementsArgs {
	return resources.New(c.Requested(cpu/4), cpu, memory)
}

func environment(variables map[string]string) corev1.EnvVarArray {
	var list corev1.EnvVarArray
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		list = append(list, corev1.EnvVarArgs{Name: pulumi.String(name), Value: pulumi.String(variables[name])})
	}
	return list
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

func mount(volume, path string, readOnly bool) corev1.VolumeMountArgs {
	return corev1.VolumeMountArgs{
		Name: pulumi.String(volume), MountPath: pulumi.String(path), ReadOnly: pulumi.Bool(readOnly),
	}
}

func configVolume(config *corev1.ConfigMap) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name:      pulumi.String("config"),
		ConfigMap: corev1.ConfigMapVolumeSourceArgs{Name: config.Metadata.Name()},
	}
}

func secretVolume(name string, secret *corev1.Secret) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String(name),
		Secret: corev1.SecretVolumeSourceArgs{
			SecretName:  secret.Metadata.Name(),
			DefaultMode: pulumi.Int(0o440), // the pod's own user reads it as the volume's group
		},
	}
}

func emptyVolume(name string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), EmptyDir: corev1.EmptyDirVolumeSourceArgs{
		SizeLimit: pulumi.String("16Mi"),
	}}
}
