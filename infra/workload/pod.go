package workload

import (
	"fmt"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
	"platform.example/infra/resources"
	"platform.example/infra/restricted"
)

const (
	// user runs every service; it is the one that their Dockerfile names.
	user = 65532

	// shutdownDelay is how long a replica that is told to stop goes on serving, while the routing forgets it. The
	// service itself waits, so that a container without a shell needs no hook.
	shutdownDelay = 5 * time.Second

	// lingering is how much longer it serves where no other replica is ready; the service makes it three times the delay.
	lingering = 3 * shutdownDelay

	// grace is all of that and the time to finish the requests in hand and close the stores.
	grace = shutdownDelay + lingering + 25*time.Second
)

// container runs the service's binary, or one of its subcommands.
func (c colour) container(name string, environment corev1.EnvFromSourceArray, arguments ...string) corev1.ContainerArgs {
	limits := c.Service.Resources
	return corev1.ContainerArgs{
		Name:            pulumi.String(name),
		Image:           c.image().Reference,
		Command:         pulumi.ToStringArray(append([]string{"/app"}, arguments...)),
		EnvFrom:         environment,
		Env:             goLimits(limits.Memory, limits.CPULimit),
		Resources:       resources.New(c.Config.Requested(limits.CPURequest), limits.CPULimit, limits.Memory),
		SecurityContext: restricted.Container(),
		// What it said last is kept with its state, where an update that fails finds it.
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}
}

// goLimits tells a Go program what it may use.
func goLimits(memory quantity.Bytes, cpu quantity.CPU) corev1.EnvVarArray {
	return corev1.EnvVarArray{
		// A tenth is left for what is outside the Go heap.
		corev1.EnvVarArgs{Name: pulumi.String("GOMEMLIMIT"), Value: pulumi.String(fmt.Sprintf("%dKiB", int(memory)*1024*9/10))},
		corev1.EnvVarArgs{Name: pulumi.String("GOMAXPROCS"), Value: pulumi.String(fmt.Sprint(cpu.Cores()))},
	}
}

// server is the container that serves.
func (c colour) server(environment corev1.EnvFromSourceArray) corev1.ContainerArgs {
	server := c.container(c.Service.Name, environment)
	server.Ports = corev1.ContainerPortArray{
		corev1.ContainerPortArgs{Name: pulumi.String("http"), ContainerPort: pulumi.Int(catalog.HTTPPort)},
		corev1.ContainerPortArgs{Name: pulumi.String("ops"), ContainerPort: pulumi.Int(catalog.OpsPort)},
	}
	server.StartupProbe = probe(catalog.LivePath, 1, 60)
	server.ReadinessProbe = probe(catalog.ReadyPath, 2, 2)
	server.LivenessProbe = probe(catalog.LivePath, 10, 6) // a busy node is no reason to restart
	return server
}

// probe asks the path every so many seconds and gives up after so many failures in a row.
func probe(path string, seconds, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		HttpGet:          corev1.HTTPGetActionArgs{Path: pulumi.String(path), Port: pulumi.String("ops")},
		PeriodSeconds:    pulumi.Int(seconds),
		TimeoutSeconds:   pulumi.Int(2),
		FailureThreshold: pulumi.Int(failures),
	}
}

// pod is what the pods of servers and jobs have in common.
func (c colour) pod(container corev1.ContainerArgs) corev1.PodSpecArgs {
	return restricted.Pod(c.Profile, user, corev1.PodSpecArgs{
		ServiceAccountName:            c.account.Metadata.Name(),
		AutomountServiceAccountToken:  pulumi.Bool(false),
		EnableServiceLinks:            pulumi.Bool(false),
		PriorityClassName:             c.Namespace.Priority,
		TerminationGracePeriodSeconds: pulumi.Int(int(grace.Seconds())),
		Containers:                    corev1.ContainerArray{container},
	})
}
