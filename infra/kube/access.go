package kube

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/secret"
)

// NewAccount creates a ServiceAccount. Pods get no token by default.
func NewAccount(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, opts ...pulumi.ResourceOption,
) (*corev1.ServiceAccount, error) {
	return corev1.NewServiceAccount(ctx, name, &corev1.ServiceAccountArgs{
		Metadata: metadata, AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
}

// Bind gives an account the permissions of the rules in the namespace of the metadata. Home is the account's namespace.
func Bind(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, account *corev1.ServiceAccount, home pulumi.StringInput,
	rules rbacv1.PolicyRuleArray, opts ...pulumi.ResourceOption,
) (*rbacv1.RoleBinding, error) {
	role, err := rbacv1.NewRole(ctx, name, &rbacv1.RoleArgs{Metadata: metadata, Rules: rules}, opts...)
	if err != nil {
		return nil, err
	}
	return rbacv1.NewRoleBinding(ctx, name, &rbacv1.RoleBindingArgs{
		Metadata: metadata, RoleRef: reference("Role", role.Metadata.Name().Elem()), Subjects: subjects(account, home),
	}, opts...)
}

// BindCluster gives an account the permissions of the rules in the whole cluster.
func BindCluster(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, account *corev1.ServiceAccount, home pulumi.StringInput,
	rules rbacv1.PolicyRuleArray, opts ...pulumi.ResourceOption,
) error {
	role, err := rbacv1.NewClusterRole(ctx, name, &rbacv1.ClusterRoleArgs{Metadata: metadata, Rules: rules}, opts...)
	if err != nil {
		return err
	}
	_, err = rbacv1.NewClusterRoleBinding(ctx, name, &rbacv1.ClusterRoleBindingArgs{
		Metadata: metadata, RoleRef: reference("ClusterRole", role.Metadata.Name().Elem()), Subjects: subjects(account, home),
	}, opts...)
	return err
}

func reference(kind string, role pulumi.StringInput) rbacv1.RoleRefArgs {
	return rbacv1.RoleRefArgs{ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String(kind), Name: role}
}

func subjects(account *corev1.ServiceAccount, home pulumi.StringInput) rbacv1.SubjectArray {
	return rbacv1.SubjectArray{rbacv1.SubjectArgs{
		Kind: pulumi.String("ServiceAccount"), Name: account.Metadata.Name().Elem(), Namespace: home,
	}}
}

// NewCertificate creates the Secret of a server's certificate. A renewal keeps its name, and the server reloads it. A CronJob renews it
// between updates, so an update must force its fields.
func NewCertificate(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, certificate secret.Certificate, opts ...pulumi.ResourceOption,
) (*corev1.Secret, error) {
	metadata.Annotations = pulumi.StringMap{"pulumi.com/patchForce": pulumi.String("true")}
	return corev1.NewSecret(ctx, name, &corev1.SecretArgs{
		Metadata:   metadata,
		Type:       pulumi.String("kubernetes.io/tls"),
		StringData: pulumi.StringMap{"tls.crt": certificate.Certificate, "tls.key": certificate.Key},
	}, opts...)
}

// NewConfig creates an immutable ConfigMap. Without a name in its metadata, changed content creates a new object and restarts its users.
func NewConfig(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, data pulumi.StringMap, opts ...pulumi.ResourceOption,
) (*corev1.ConfigMap, error) {
	return corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{Metadata: metadata, Immutable: pulumi.Bool(true), Data: data}, opts...)
}

// NewSecret creates an immutable Secret, like NewConfig.
func NewSecret(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, data pulumi.StringMap, opts ...pulumi.ResourceOption,
) (*corev1.Secret, error) {
	return corev1.NewSecret(ctx, name, &corev1.SecretArgs{Metadata: metadata, Immutable: pulumi.Bool(true), StringData: data}, opts...)
}
