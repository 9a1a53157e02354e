package edge

import (
	"fmt"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/resources"
	"platform.example/infra/restricted"
	"platform.example/infra/scaling"
	"platform.example/infra/stack"
)

const (
	opsPort = 9090 // health and metrics
	user    = 65532

	// One replica passes on some thousand requests a second with a core.
	cpuRequest = quantity.CPU(100)
	cpuLimit   = quantity.CPU(2000)
	memory     = 192 * quantity.MiB

	// connectionSeconds is how old a connection may get: its next answer asks the client for a new one.
	connectionSeconds = 20
	// acceptSeconds is how long a replica that is told to stop goes on taking connections: where no other is ready, until
	// another is, and from then on until the connections that it has are too old. finishSeconds is for what it then has in hand.
	acceptSeconds = connectionSeconds + 10
	finishSeconds = 25
)

func (a Args) pod(
	account *corev1.ServiceAccount, routes *corev1.ConfigMap, certificate pulumi.StringInput,
) corev1.PodSpecArgs {
	return restricted.Pod(a.Profile, user, corev1.PodSpecArgs{
		ServiceAccountName:            account.Metadata.Name(),
		AutomountServiceAccountToken:  pulumi.Bool(false),
		EnableServiceLinks:            pulumi.Bool(false),
		PriorityClassName:             a.Namespace.Priority,
		TerminationGracePeriodSeconds: pulumi.Int(acceptSeconds + finishSeconds + 5),
		TopologySpreadConstraints:     scaling.Spread(selector()),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name:    pulumi.String("traefik"),
			Image:   pulumi.String(a.Image),
			Command: pulumi.ToStringArray(append([]string{"/usr/local/bin/traefik"}, flags(a.Config)...)),
			Env: corev1.EnvVarArray{
				corev1.EnvVarArgs{
					Name: pulumi.String("GOMEMLIMIT"), Value: pulumi.String(fmt.Sprintf("%dMiB", int(memory)*9/10)),
				},
				corev1.EnvVarArgs{Name: pulumi.String("GOMAXPROCS"), Value: pulumi.String(fmt.Sprint(cpuLimit.Cores()))},
			},
			Ports: corev1.ContainerPortArray{
				corev1.ContainerPortArgs{Name: pulumi.String("http"), ContainerPort: pulumi.Int(network.EdgeHTTPPort)},
				corev1.ContainerPortArgs{Name: pulumi.String("https"), ContainerPort: pulumi.Int(network.EdgeHTTPSPort)},
				corev1.ContainerPortArgs{Name: pulumi.String("ops"), ContainerPort: pulumi.Int(opsPort)},
			},
			Resources:       resources.New(a.Config.Requested(cpuRequest), cpuLimit, memory),
			SecurityContext: restricted.Container(),
			StartupProbe:    ping(1, 60),
			ReadinessProbe:  ping(2, 2),
			LivenessProbe:   ping(10, 6),
			VolumeMounts: corev1.VolumeMountArray{corev1.VolumeMountArgs{
				Name: pulumi.String("dynamic"), MountPath: pulumi.String(dynamicFolder), ReadOnly: pulumi.Bool(true),
			}},
		}},
		Volumes: corev1.VolumeArray{corev1.VolumeArgs{
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
		}},
	})
}

// items puts files into a folder of the volume. At the top of a volume Traefik would find each file twice: in the
// folder that Kubernetes swaps at a change, and through the link to it.
func items(files ...string) corev1.KeyToPathArray {
	var items corev1.KeyToPathArray
	for _, file := range files {
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(file), Path: pulumi.String(liveFolder + "/" + file)})
	}
	return items
}

func ping(seconds, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		HttpGet:          corev1.HTTPGetActionArgs{Path: pulumi.String("/ping"), Port: pulumi.String("ops")},
		PeriodSeconds:    pulumi.Int(seconds),
		TimeoutSeconds:   pulumi.Int(2),
		FailureThreshold: pulumi.Int(failures),
	}
}

// flags is Traefik's configuration that needs a restart to change. Neither its API nor its dashboard is on.
func flags(config stack.Stack) []string {
	flags := []string{
		"--global.checkNewVersion=false",
		"--global.sendAnonymousUsage=false",
		"--log.format=json",
		"--log.level=INFO",
		"--accessLog=true",
		"--accessLog.format=json",
		"--accessLog.fields.headers.defaultMode=drop", // they hold tokens
		"--providers.file.directory=" + dynamicFolder,
		"--providers.file.watch=true",
		fmt.Sprintf("--entryPoints.ops.address=:%d", opsPort),
		fmt.Sprintf("--entryPoints.ops.transport.lifeCycle.requestAcceptGraceTimeout=%ds", acceptSeconds),
		"--ping.entryPoint=ops",
		"--ping.terminatingStatusCode=200", // not ready while it stops, the only replica would be asked no more
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
