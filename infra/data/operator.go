package data

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

const (
	operatorName   = network.PostgresOperator
	operatorGroup  = "postgresql.cnpg.io"
	operatorMemory = 160 * quantity.MiB
	webhookFolder  = "/run/secrets/webhook"
)

// newOperator runs CloudNativePG (https://cloudnative-pg.io) for the namespace of the stores, unless the cluster has an operator. It
// validates its objects itself, so the cluster has no webhook that depends on it. crds.json and rules.json are parts of its release
// without descriptions.
// Its custom resource definitions stay when the stack is destroyed: their deletion would delete all databases in the Kubernetes cluster.
func (a PostgresArgs) newOperator(ctx *pulumi.Context, opts ...pulumi.ResourceOption) ([]pulumi.Resource, error) {
	if !a.Profile.Operator {
		return nil, nil
	}
	var created []pulumi.Resource
	definitions := parsed[map[string]map[string]any]("cloudnative-pg/crds.json")
	if !a.Profile.Definitions {
		definitions = nil // those of another stack
	}
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		definition, err := newCustom(ctx, "apiextensions.k8s.io/v1", "CustomResourceDefinition", name,
			metav1.ObjectMetaArgs{Name: pulumi.String(name)}, definitions[name], append(opts, pulumi.RetainOnDelete(true))...)
		if err != nil {
			return nil, err
		}
		created = append(created, definition)
	}
	account, err := kube.NewAccount(ctx, operatorName, a.named(operatorName), opts...)
	if err != nil {
		return nil, err
	}
	bound, err := kube.Bind(ctx, operatorName, a.named(operatorName), account, a.Namespace.Name, permissions(), opts...)
	if err != nil {
		return nil, err
	}
	clusterWide := metav1.ObjectMetaArgs{Name: pulumi.String(a.Config.NamespacePrefix.ClusterScoped(operatorName))}
	err = kube.BindCluster(ctx, operatorName, clusterWide, account, a.Namespace.Name, rbacv1.PolicyRuleArray{
		rule("", []string{"nodes"}, "get", "list", "watch"),
		rule(operatorGroup, []string{"clusterimagecatalogs"}, "get", "list", "watch"),
	}, opts...)
	if err != nil {
		return nil, err
	}
	certificate, err := kube.NewCertificate(ctx, operatorName+"-certificate", a.named(operatorName+"-certificate"), a.OperatorCertificate, opts...)
	if err != nil {
		return nil, err
	}
	probing := func(seconds, failures int) corev1.ProbeArgs {
		return secureProbe("/readyz", network.OperatorPort, seconds, failures)
	}
	pod := a.pod(account, corev1.ContainerArgs{
		Name:    pulumi.String(operatorName),
		Image:   pulumi.String(a.OperatorImage),
		Command: pulumi.ToStringArray([]string{"/manager", "controller", "--leader-elect", fmt.Sprintf("--webhook-port=%d", network.OperatorPort)}),
		Env: kube.Variables(pulumi.StringMap{
			"OPERATOR_IMAGE_NAME": pulumi.String(a.OperatorImage), // instances copy its program
			"OPERATOR_NAMESPACE":  a.Namespace.Name,
			"WATCH_NAMESPACE":     a.Namespace.Name,
			"WEBHOOK_CERT_DIR":    pulumi.String(webhookFolder),
			"GOMEMLIMIT":          pulumi.Sprintf("%dMiB", int(operatorMemory)*9/10),
		}),
		Ports:          corev1.ContainerPortArray{kube.Port("webhook", network.OperatorPort)},
		Resources:      kube.Resources(a.Config.Requested(20), 1000, operatorMemory),
		StartupProbe:   probing(2, 60),
		ReadinessProbe: probing(10, 3),
		LivenessProbe:  probing(10, 6),
		VolumeMounts:   corev1.VolumeMountArray{kube.Mount("certificate", webhookFolder, true), kube.Mount("controller", "/controller", false)},
	}, corev1.VolumeArray{
		corev1.VolumeArgs{Name: pulumi.String("certificate"), Secret: corev1.SecretVolumeSourceArgs{
			SecretName: certificate.Metadata.Name(), DefaultMode: pulumi.Int(0o440), Items: corev1.KeyToPathArray{
				corev1.KeyToPathArgs{Key: pulumi.String("tls.crt"), Path: pulumi.String("apiserver.crt")},
				corev1.KeyToPathArgs{Key: pulumi.String("tls.key"), Path: pulumi.String("apiserver.key")},
			},
		}},
		scratch("controller"),
	})
	pod.AutomountServiceAccountToken = pulumi.Bool(true)
	spec := kube.Deployment(a.Rollout, kube.Labels(operatorName), template(operatorName, pod))
	spec.Replicas = pulumi.Int(1)
	deployment, err := appsv1.NewDeployment(ctx, operatorName, &appsv1.DeploymentArgs{Metadata: a.named(operatorName), Spec: spec},
		slices.Concat(opts, a.Rollout.Options(), []pulumi.ResourceOption{pulumi.DependsOn(append(created, bound))})...)
	return []pulumi.Resource{deployment}, err
}

// permissions are the operator's permissions in its namespace.
func permissions() rbacv1.PolicyRuleArray {
	var rules rbacv1.PolicyRuleArray
	for _, granted := range parsed[[]struct{ APIGroups, Resources, Verbs []string }]("cloudnative-pg/rules.json") {
		rules = append(rules, rule(granted.APIGroups[0], granted.Resources, granted.Verbs...))
	}
	return rules
}

func rule(group string, resources []string, verbs ...string) rbacv1.PolicyRuleArgs {
	return rbacv1.PolicyRuleArgs{
		ApiGroups: pulumi.ToStringArray([]string{group}), Resources: pulumi.ToStringArray(resources), Verbs: pulumi.ToStringArray(verbs),
	}
}

//go:embed cloudnative-pg
var operatorFiles embed.FS

// parsed reads an embedded JSON file.
func parsed[T any](name string) (value T) {
	content, err := operatorFiles.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(content, &value)
	}
	if err != nil {
		panic(err) // the file is embedded
	}
	return value
}

// newCustom creates an object of a kind that the SDK has no type for.
func newCustom(
	ctx *pulumi.Context, apiVersion, kind, name string, metadata metav1.ObjectMetaArgs, spec map[string]any, opts ...pulumi.ResourceOption,
) (*apiextensions.CustomResource, error) {
	return apiextensions.NewCustomResource(ctx, name, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String(apiVersion), Kind: pulumi.String(kind), Metadata: metadata, OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, opts...)
}
