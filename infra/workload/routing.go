package workload

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

// url is where a service answers inside the cluster.
func url(service string) string {
	return fmt.Sprintf("http://%s.%s.svc:%d", service, namespaceName, catalog.HTTPPort)
}

// newServices makes the address of this colour, and the live one, which selects it. It returns where the latter is
// reached.
func (a Args) newServices(ctx *pulumi.Context, parent pulumi.ResourceOption) (pulumi.StringOutput, error) {
	exposure := stack.Gateway{Type: stack.ClusterIP}
	if _, err := a.newService(ctx, a.name(), exposure, parent); err != nil {
		return pulumi.StringOutput{}, err
	}
	if a.Service.Public {
		exposure = a.Config.Gateway
	}
	live, err := a.newService(ctx, a.Service.Name, exposure, parent)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	switch exposure.Type {
	case stack.NodePort:
		return pulumi.Sprintf("http://localhost:%d", exposure.NodePort), nil
	case stack.LoadBalancer:
		return balancedURL(live), nil
	default:
		return pulumi.String(url(a.Service.Name)).ToStringOutput(), nil
	}
}

func (a Args) newService(
	ctx *pulumi.Context, name string, exposure stack.Gateway, parent pulumi.ResourceOption,
) (*corev1.Service, error) {
	port := corev1.ServicePortArgs{
		Name:        pulumi.String("http"),
		AppProtocol: pulumi.String("http"),
		Port:        pulumi.Int(catalog.HTTPPort),
		TargetPort:  pulumi.String("http"),
	}
	if exposure.Type == stack.NodePort {
		port.NodePort = pulumi.Int(exposure.NodePort)
	}
	metadata := a.metadata(name, a.labels())
	if exposure.Type != stack.LoadBalancer { // whose address comes later, and is wanted
		// Pulumi would wait 10 s after each change of the endpoints; the Deployment's own readiness says enough.
		metadata.Annotations = pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")}
	}
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: metadata,
		Spec: corev1.ServiceSpecArgs{
			Type:     pulumi.String(exposure.Type),
			Selector: a.colourSelector(),
			Ports:    corev1.ServicePortArray{port},
		},
	}, parent)
}

// balancedURL is the address that the load balancer was given: a name with some, a number with others.
func balancedURL(service *corev1.Service) pulumi.StringOutput {
	ingress := service.Status.LoadBalancer().Ingress().Index(pulumi.Int(0))
	return pulumi.All(ingress.Hostname(), ingress.Ip()).ApplyT(func(given []any) string {
		for _, host := range given {
			if host, _ := host.(*string); host != nil && *host != "" {
				return fmt.Sprintf("http://%s:%d", *host, catalog.HTTPPort)
			}
		}
		return ""
	}).(pulumi.StringOutput)
}
