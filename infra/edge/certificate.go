package edge

import (
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/kube"
	"platform.example/infra/network"
)

const certificateName = name + "-certificate"

// newSolver creates the Service of the pods with which cert-manager solves challenges (ACME, HTTP-01).
func (a Args) newSolver(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	selector := pulumi.ToStringMap(network.Selector(network.Solver))
	http := corev1.ServicePortArgs{Name: pulumi.String("http"), Port: pulumi.Int(network.SolverPort)}
	_, err := kube.NewService(ctx, network.Solver, a.metadata(network.Solver), selector, http, parent)
	return err
}

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
			OtherFields: kubernetes.UntypedArgs{"spec": object{
				"secretName": certificateName,
				"dnsNames":   []string{a.Config.Edge.Host},
				"privateKey": object{"algorithm": "ECDSA", "rotationPolicy": "Always"},
				"issuerRef":  object{"kind": "ClusterIssuer", "name": a.Config.Edge.Issuer},
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
