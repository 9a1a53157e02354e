package data

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/kube"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

// StreamInstances are the DNS names of the stream's instances.
func StreamInstances(config stack.Stack) (hosts []string) {
	for i := range config.Stream.Instances {
		hosts = append(hosts, config.NamespacePrefix.Host(fmt.Sprintf("%s-%d", network.Stream, i), namespace.Data))
	}
	if len(hosts) < 2 {
		return []string{config.NamespacePrefix.Host(network.Stream, namespace.Data)}
	}
	return hosts
}

// newServices creates the Service of the server. For several instances, it also creates a Service of each, whose address stays when the pod
// is replaced. The Service of the server then selects the first instance, for versions of the services that know only one address.
func (s redisServer) newServices(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (services []pulumi.Resource, err error) {
	if len(s.Instances) == 1 {
		service, err := s.newService(ctx, s.name, network.RedisPort, opts...)
		return []pulumi.Resource{service}, err
	}
	for i, host := range append([]string{s.name}, s.Instances...) {
		name, _, _ := strings.Cut(host, ".")
		pod, _, _ := strings.Cut(s.Instances[max(0, i-1)], ".")
		service, err := kube.NewService(ctx, name, s.named(name), corev1.ServiceSpecArgs{
			PublishNotReadyAddresses: pulumi.Bool(true),
			Selector:                 pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(s.name), "statefulset.kubernetes.io/pod-name": pulumi.String(pod)},
			Ports: corev1.ServicePortArray{
				corev1.ServicePortArgs{Name: pulumi.String("tcp"), Port: pulumi.Int(network.RedisPort)},
				corev1.ServicePortArgs{Name: pulumi.String("sentinel"), Port: pulumi.Int(network.SentinelPort)},
			},
		}, opts...)
		if err != nil {
			return nil, err
		}
		services = append(services, service)
	}
	return services, nil
}

// Targets are the addresses of the instances of a Redis.
func (e Endpoint) Targets() []string { return at(e.Instances, e.Port) }

// Address is what clients of a Redis connect to: its only instance, or the Sentinels.
func (e Endpoint) Address() string {
	if len(e.Instances) == 1 {
		return e.Targets()[0]
	}
	return strings.Join(at(e.Instances, network.SentinelPort), ",")
}

func at(hosts []string, port int) []string {
	return slice.Map(hosts, func(host string) string { return net.JoinHostPort(host, strconv.Itoa(port)) })
}
