package workload

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
)

// URL is where a service answers inside the cluster.
func URL(service string) string {
	return fmt.Sprintf("http://%s.%s.svc:%d", service, namespace.Apps, catalog.HTTPPort)
}

// newServices makes the address of this colour, and the live one, which selects it.
func (a Args) newServices(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	for _, name := range []string{a.name(), a.Service.Name} {
		metadata := a.metadata(name, a.labels())
		metadata.Annotations = a.annotations()
		_, err := corev1.NewService(ctx, name, &corev1.ServiceArgs{
			Metadata: metadata,
			Spec: corev1.ServiceSpecArgs{
				Type:     pulumi.String("ClusterIP"),
				Selector: a.colourSelector(),
				Ports: corev1.ServicePortArray{corev1.ServicePortArgs{
					Name:        pulumi.String("http"),
					AppProtocol: pulumi.String("http"),
					Port:        pulumi.Int(catalog.HTTPPort),
					TargetPort:  pulumi.String("http"),
				}},
			},
		}, parent)
		if err != nil {
			return err
		}
	}
	return nil
}

// annotations tell people and tools what is promised of the service.
func (a Args) annotations() pulumi.StringMap {
	promised := a.Service.Objectives
	return pulumi.StringMap{
		// Pulumi would wait 10 s after each change of the endpoints; the Deployment's own readiness says enough.
		"pulumi.com/skipAwait":          pulumi.String("true"),
		"platform.example/availability": pulumi.String(percent(promised.Availability)),
		"platform.example/latency":      pulumi.Sprintf("%s of requests within %s", percent(promised.LatencyShare), promised.Latency),
		"platform.example/on-breach":    pulumi.String(promised.Breach),
	}
}

func percent(share float64) string { return fmt.Sprintf("%.4g%%", share*100) }
