// Package edge runs Traefik, the public entry of the platform, which terminates TLS and forwards requests.
package edge

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/cluster"
	"platform.example/infra/edge/traefik"
	"platform.example/infra/isolation"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// routesFile is the file of the dynamic configuration.
const routesFile = "routes.yaml"

// name is the name of the edge's resources.
const name = network.Edge

// Edge is the public entry.
type Edge struct {
	pulumi.ResourceState
	URL     pulumi.StringOutput // of the platform
	Address pulumi.StringOutput // of the load balancer, for a DNS record; empty without one
}

// Args describes the edge.
type Args struct {
	Namespace *isolation.Namespace
	Rollout   cluster.Rollout
	Config    stack.Stack
	Profile   profile.Profile
	Image     string
	Upstream  string              // the URL of the public service inside the cluster, by name
	Address   pulumi.StringOutput // the same by its Service's ClusterIP; empty without one
	Origins   []string            // allowed CORS origins
	// Certificate is the edge's certificate by the stack's own authority, if it has one.
	Certificate secret.Certificate
}

// New creates the edge.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Edge, error) {
	edge := &Edge{}
	if err := ctx.RegisterComponentResource("platform:edge:Edge", name, edge, opts...); err != nil {
		return nil, err
	}
	if err := edge.build(ctx, args, pulumi.Parent(edge)); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	return edge, nil
}

func (e *Edge) build(ctx *pulumi.Context, args Args, parent pulumi.ResourceOption) error {
	account, err := kube.NewAccount(ctx, name, args.metadata(name), parent)
	if err != nil {
		return err
	}
	certificate, err := args.newCertificate(ctx, parent)
	if err != nil {
		return err
	}
	text := args.Address.ApplyT(func(address string) (string, error) {
		text, err := yaml.Marshal(traefik.Routes(args.Config, args.Upstream, address, args.Origins))
		return string(text), err
	}).(pulumi.StringOutput)
	routes, err := kube.NewConfig(ctx, name, args.metadata(""), pulumi.StringMap{routesFile: text}, parent)
	if err != nil {
		return err
	}
	selector := kube.Labels(name)
	deployment, err := appsv1.NewDeployment(ctx, name, &appsv1.DeploymentArgs{
		Metadata: args.metadata(name),
		Spec:     kube.Deployment(args.Rollout, selector, kube.Template(name, selector, traefik.OpsPort, args.pod(account, routes, certificate))),
	}, append(args.Rollout.Options(), parent)...)
	if err != nil {
		return err
	}
	if err := kube.Scale(ctx, name, args.metadata(name), selector, args.Config, args.Config.Replicas, parent); err != nil {
		return err
	}
	service, err := args.newService(ctx, parent)
	if err != nil {
		return err
	}
	if args.Config.Edge.Issuer != "" { // the Service of the pods with which cert-manager solves challenges (ACME, HTTP-01)
		_, err := kube.NewService(ctx, network.Solver, args.metadata(network.Solver), corev1.ServiceSpecArgs{
			Selector: pulumi.ToStringMap(network.Selector(network.Solver)),
			Ports:    corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String("http"), Port: pulumi.Int(network.SolverPort)}},
		}, parent)
		if err != nil {
			return err
		}
	}
	e.URL, e.Address = args.url(service), args.address(service)
	completed := kube.Completed(ctx, args.Rollout, deployment, nil)
	return ctx.RegisterResourceOutputs(e, pulumi.Map{"url": e.URL, "deployment": completed})
}

func (a Args) metadata(called string) metav1.ObjectMetaArgs {
	metadata := metav1.ObjectMetaArgs{Namespace: a.Namespace.Name, Labels: kube.Labels(name)}
	if called != "" {
		metadata.Name = pulumi.String(called)
	}
	return metadata
}

// newService exposes both ports. It preserves the client's address, since each node forwards only to its own pods.
func (a Args) newService(ctx *pulumi.Context, parent pulumi.ResourceOption) (*corev1.Service, error) {
	http := corev1.ServicePortArgs{Name: pulumi.String("http"), Port: pulumi.Int(80), TargetPort: pulumi.String("http")}
	https := corev1.ServicePortArgs{Name: pulumi.String("https"), Port: pulumi.Int(443), TargetPort: pulumi.String("https")}
	exposure := a.Config.Edge
	if exposure.Type == stack.NodePort {
		http.NodePort, https.NodePort = pulumi.Int(exposure.HTTPPort), pulumi.Int(exposure.HTTPSPort)
	}
	annotations := pulumi.ToStringMap(exposure.Annotations)
	if exposure.Type != stack.LoadBalancer { // Pulumi waits for the address of a load balancer
		annotations["pulumi.com/skipAwait"] = pulumi.String("true")
	}
	metadata := a.metadata(name)
	metadata.Annotations = annotations
	spec := corev1.ServiceSpecArgs{
		Type:     pulumi.String(exposure.Type),
		Selector: kube.Labels(name),
		Ports:    corev1.ServicePortArray{http, https},
	}
	if exposure.Type != stack.ClusterIP {
		spec.ExternalTrafficPolicy = pulumi.String("Local")
	}
	if len(a.Profile.Families) > 1 {
		spec.IpFamilyPolicy = pulumi.String("PreferDualStack")
	}
	if exposure.LoadBalancerClass != "" {
		spec.LoadBalancerClass = pulumi.String(exposure.LoadBalancerClass)
	}
	if len(exposure.SourceRanges) > 0 {
		spec.LoadBalancerSourceRanges = pulumi.ToStringArray(exposure.SourceRanges)
	}
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{Metadata: metadata, Spec: spec}, parent)
}

// url resolves once the Service exists.
func (a Args) url(service *corev1.Service) pulumi.StringOutput {
	address := "https://" + a.Config.Edge.Host
	if a.Config.Edge.Type == stack.NodePort {
		address = fmt.Sprintf("%s:%d", address, a.Config.Edge.HTTPSPort)
	}
	return service.Metadata.Name().ApplyT(func(*string) string { return address }).(pulumi.StringOutput)
}

// address is the load balancer's IP address or host name.
func (a Args) address(service *corev1.Service) pulumi.StringOutput {
	return service.Status.ApplyT(func(status *corev1.ServiceStatus) string {
		if a.Config.Edge.Type != stack.LoadBalancer || status == nil || status.LoadBalancer == nil {
			return ""
		}
		for _, ingress := range status.LoadBalancer.Ingress {
			for _, address := range []*string{ingress.Ip, ingress.Hostname} {
				if address != nil && *address != "" {
					return *address
				}
			}
		}
		return ""
	}).(pulumi.StringOutput)
}

const certificateName = name + "-certificate"

// newCertificate returns the name of the Secret with the edge's certificate: an existing one, one of cert-manager, or one by the stack's
// own authority. Traefik reloads a renewed certificate.
func (a Args) newCertificate(ctx *pulumi.Context, parent pulumi.ResourceOption) (pulumi.StringInput, error) {
	switch {
	case a.Config.Edge.TLSSecret != "":
		return pulumi.String(a.Config.Edge.TLSSecret), nil
	case a.Config.Edge.Issuer != "":
		certificate, err := apiextensions.NewCustomResource(ctx, certificateName, &apiextensions.CustomResourceArgs{
			ApiVersion: pulumi.String("cert-manager.io/v1"),
			Kind:       pulumi.String("Certificate"),
			Metadata:   a.metadata(certificateName),
			OtherFields: kubernetes.UntypedArgs{"spec": map[string]any{
				"secretName": certificateName,
				"dnsNames":   []string{a.Config.Edge.Host},
				"privateKey": map[string]any{"algorithm": "ECDSA", "rotationPolicy": "Always"},
				"issuerRef":  map[string]any{"kind": "ClusterIssuer", "name": a.Config.Edge.Issuer},
			}},
		}, parent)
		if err != nil {
			return nil, err
		}
		return certificate.Metadata.Name().Elem(), nil
	default:
		certificate, err := kube.NewCertificate(ctx, certificateName, a.metadata(certificateName), a.Certificate, parent)
		if err != nil {
			return nil, err
		}
		return certificate.Metadata.Name().Elem(), nil
	}
}

const (
	// One replica forwards about a thousand requests per second with one core.
	cpuRequest = quantity.CPU(100)
	cpuLimit   = quantity.CPU(2000)
	memory     = 192 * quantity.MiB
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
		Command: pulumi.ToStringArray(append([]string{"/usr/local/bin/traefik"}, traefik.Flags(a.Config)...)),
		Env:     kube.GoLimits(memory, "MiB", cpuLimit),
		Ports: corev1.ContainerPortArray{
			kube.Port("http", network.EdgeHTTPPort), kube.Port("https", network.EdgeHTTPSPort), kube.Port("ops", traefik.OpsPort),
		},
		Resources:      kube.Resources(a.Config.Requested(cpuRequest), cpuLimit, memory),
		StartupProbe:   ping(1, 60),
		ReadinessProbe: ping(2, 2),
		LivenessProbe:  ping(10, 6),
		VolumeMounts:   corev1.VolumeMountArray{kube.Mount("dynamic", traefik.Folder, true)},
	})
	pod.TerminationGracePeriodSeconds = pulumi.Int(traefik.AcceptSeconds + traefik.FinishSeconds + 5)
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
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(file), Path: pulumi.String(traefik.Live + "/" + file)})
	}
	return items
}
