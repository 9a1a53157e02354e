package edge

import (
	"fmt"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

const (
	opsPort = 9090 // health and metrics

	// One replica forwards about a thousand requests per second with one core.
	cpuRequest = quantity.CPU(100)
	cpuLimit   = quantity.CPU(2000)
	memory     = 192 * quantity.MiB

	// connectionSeconds is the maximum age of a connection. The next response then closes it.
	connectionSeconds = 20
	// acceptSeconds is how long a terminating replica accepts connections: until another replica is ready, if none is, and then until
	// its connections are too old. finishSeconds is for requests that are then in flight.
	acceptSeconds = connectionSeconds + 10
	finishSeconds = 25
)

func (a Args) pod(
	account *corev1.ServiceAccount, routes *corev1.ConfigMap, certificate pulumi.StringInput,
) corev1.PodSpecArgs {
	ping := func(seconds, failures int) corev1.ProbeArgs {
		return kube.Probe("/ping", pulumi.String("ops"), 2, seconds, failures)
	}
	pod := kube.Pod(a.Profile, kube.Nobody, account, a.Namespace.Priority, corev1.ContainerArgs{
		Name:    pulumi.String("traefik"),
		Image:   pulumi.String(a.Image),
		Command: pulumi.ToStringArray(append([]string{"/usr/local/bin/traefik"}, flags(a.Config)...)),
		Env:     kube.GoLimits(memory, "MiB", cpuLimit),
		Ports: corev1.ContainerPortArray{
			kube.Port("http", network.EdgeHTTPPort), kube.Port("https", network.EdgeHTTPSPort), kube.Port("ops", opsPort),
		},
		Resources:      kube.Resources(a.Config.Requested(cpuRequest), cpuLimit, memory),
		StartupProbe:   ping(1, 60),
		ReadinessProbe: ping(2, 2),
		LivenessProbe:  ping(10, 6),
		VolumeMounts:   corev1.VolumeMountArray{kube.Mount("dynamic", dynamicFolder, true)},
	})
	pod.TerminationGracePeriodSeconds = pulumi.Int(acceptSeconds + finishSeconds + 5)
	pod.TopologySpreadConstraints = kube.Spread(kube.Labels(name))
	pod.Volumes = corev1.VolumeArray{corev1.VolumeArgs{
		Name: pulumi.String("dynamic"),
		Projected: corev1.ProjectedVolumeSourceArgs{
			DefaultMode: pulumi.Int(0o440),
			Sources: corev1.VolumeProjectionArray{
				corev1.VolumeProjectionArgs{ConfigMap: corev1.ConfigMapProjectionArgs{
					Name: routes.Metadata.Name(), Items: items(routesFile),
				}},
				corev1.VolumeProjectionArgs{Secret: corev1.SecretProjectionArgs{
					Name: certificate, Items: items("tls.crt", "tls.key"),
				}},
			},
		},
	}}
	return pod
}

// items puts files into a subfolder of the volume. At the top level Traefik would find each file twice: in the folder that Kubernetes
// replaces on a change, and by the symbolic link to it.
func items(files ...string) corev1.KeyToPathArray {
	var items corev1.KeyToPathArray
	for _, file := range files {
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(file), Path: pulumi.String(liveFolder + "/" + file)})
	}
	return items
}

// flags are Traefik's static configuration. Its API and its dashboard are off.
func flags(config stack.Stack) []string {
	flags := []string{
		"--global.checkNewVersion=false",
		"--global.sendAnonymousUsage=false",
		"--log.format=json",
		"--log.level=INFO",
		"--accessLog=true",
		"--accessLog.format=json",
		"--accessLog.fields.headers.defaultMode=drop", // they contain tokens
		"--providers.file.directory=" + dynamicFolder,
		"--providers.file.watch=true",
		fmt.Sprintf("--entryPoints.ops.address=:%d", opsPort),
		fmt.Sprintf("--entryPoints.ops.transport.lifeCycle.requestAcceptGraceTimeout=%ds", acceptSeconds),
		"--ping.entryPoint=ops",
		"--ping.terminatingStatusCode=200", // so that the only replica gets requests while it terminates
		"--metrics.prometheus.entryPoint=ops",
		fmt.Sprintf("--entryPoints.http.address=:%d", network.EdgeHTTPPort),
		fmt.Sprintf("--entryPoints.https.address=:%d", network.EdgeHTTPSPort),
		"--entryPoints.https.asDefault=true",
		"--entryPoints.https.http.tls=true",
	}
	for _, entry := range []string{"http", "https"} {
		flags = append(flags,
			"--entryPoints."+entry+".transport.respondingTimeouts.readTimeout=30s",
			"--entryPoints."+entry+".transport.respondingTimeouts.writeTimeout=60s",
			"--entryPoints."+entry+".transport.respondingTimeouts.idleTimeout=90s",
			fmt.Sprintf("--entryPoints.%s.transport.keepAliveMaxTime=%ds", entry, connectionSeconds),
			fmt.Sprintf("--entryPoints.%s.transport.lifeCycle.requestAcceptGraceTimeout=%ds", entry, acceptSeconds),
			fmt.Sprintf("--entryPoints.%s.transport.lifeCycle.graceTimeOut=%ds", entry, finishSeconds),
		)
		if proxies := config.Edge.TrustedProxies; len(proxies) > 0 {
			flags = append(flags, "--entryPoints."+entry+".forwardedHeaders.trustedIPs="+strings.Join(proxies, ","))
			if config.Edge.ProxyProtocol {
				flags = append(flags, "--entryPoints."+entry+".proxyProtocol.trustedIPs="+strings.Join(proxies, ","))
			}
		}
	}
	return flags
}
