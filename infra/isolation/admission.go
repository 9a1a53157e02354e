package isolation

import (
	"fmt"
	"strings"

	admissionv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/admissionregistration/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/namespace"
)

// NewAdmission creates a ValidatingAdmissionPolicy: namespace apps admits only images of the registries, by digest. So a user who may
// create pods there can't run other images. Registries may have a path.
func NewAdmission(
	ctx *pulumi.Context, prefix namespace.Prefix, registries []string, opts ...pulumi.ResourceOption,
) (*admissionv1.ValidatingAdmissionPolicyBinding, error) {
	known := slice.Map(registries, func(registry string) string { return fmt.Sprintf("image.startsWith('%s/')", registry) })
	name := pulumi.String(prefix.ClusterScoped("images"))
	policy, err := admissionv1.NewValidatingAdmissionPolicy(ctx, "images", &admissionv1.ValidatingAdmissionPolicyArgs{
		Metadata: metav1.ObjectMetaArgs{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpecArgs{
			FailurePolicy: pulumi.String("Fail"),
			MatchConstraints: admissionv1.MatchResourcesArgs{
				NamespaceSelector: inNamespace(prefix.Of(namespace.Apps)),
				ResourceRules: admissionv1.NamedRuleWithOperationsArray{admissionv1.NamedRuleWithOperationsArgs{
					ApiGroups: pulumi.ToStringArray([]string{""}), ApiVersions: pulumi.ToStringArray([]string{"v1"}),
					Operations: pulumi.ToStringArray([]string{"CREATE", "UPDATE"}),
					Resources:  pulumi.ToStringArray([]string{"pods", "pods/ephemeralcontainers"}),
				}},
			},
			Variables: admissionv1.VariableArray{admissionv1.VariableArgs{
				Name: pulumi.String("images"),
				Expression: pulumi.String("object.spec.containers.map(c, c.image) + object.spec.?initContainers.orValue([]).map(c, c.image) + " +
					"object.spec.?ephemeralContainers.orValue([]).map(c, c.image)"),
			}},
			Validations: admissionv1.ValidationArray{admissionv1.ValidationArgs{
				Expression: pulumi.Sprintf("variables.images.all(image, image.matches('@sha256:[0-9a-f]{64}$') && (%s))", strings.Join(known, " || ")),
				MessageExpression: pulumi.Sprintf("'this namespace admits only images of %s, by digest, not ' + variables.images.join(', ')",
					strings.Join(registries, " and ")),
			}},
		},
	}, opts...)
	if err != nil {
		return nil, err
	}
	return admissionv1.NewValidatingAdmissionPolicyBinding(ctx, "images", &admissionv1.ValidatingAdmissionPolicyBindingArgs{
		Metadata: metav1.ObjectMetaArgs{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpecArgs{
			PolicyName: policy.Metadata.Name().Elem(), ValidationActions: pulumi.ToStringArray([]string{"Deny"}),
		},
	}, opts...)
}
