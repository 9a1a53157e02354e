package data

import (
	_ "embed"
	"fmt"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
	"platform.example/infra/restricted"
)

var (
	//go:embed postgres/init.sh
	initScript string
	//go:embed postgres/role.sql
	roleSQL string
	//go:embed postgres/databases.sql
	databasesSQL string
)

const rolesFolder = "/run/secrets/roles"

// newDatabases is a Job that makes each service's database and role what they should be. Its configuration and
// secrets have generated names, so that any change to them makes a new Job.
func newDatabases(
	ctx *pulumi.Context, args PostgresArgs, host string, admin *corev1.Secret, opts ...pulumi.ResourceOption,
) error {
	passwords := pulumi.StringMap{}
	for _, service := range args.Services {
		if service.Database != "" {
			passwords[service.Role()] = args.Passwords[service.Name]
		}
	}
	secret, err := corev1.NewSecret(ctx, "postgres-roles", &corev1.SecretArgs{
		Metadata:   args.metadata(),
		Immutable:  pulumi.Bool(true),
		StringData: passwords,
	}, opts...)
	if err != nil {
		return err
	}
	config, err := corev1.NewConfigMap(ctx, "postgres-init", &corev1.ConfigMapArgs{
		Metadata:  args.metadata(),
		Immutable: pulumi.Bool(true),
		Data: pulumi.StringMap{
			"init.sh":       pulumi.String(initScript),
			"role.sql":      pulumi.String(roleSQL),
			"databases.sql": pulumi.String(databasesSQL),
			"roles":         pulumi.String(roles(args.Services, connectionLimit(args.Config.Replicas))),
		},
	}, opts...)
	if err != nil {
		return err
	}
	_, err = batchv1.NewJob(ctx, "postgres-init", &batchv1.JobArgs{
		Metadata: metav1.ObjectMetaArgs{
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    labels("postgres-init"),
		},
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(2),
			ActiveDeadlineSeconds: pulumi.Int(240), // less than what Pulumi waits, so that Kubernetes tells the cause
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels("postgres-init")},
				Spec: corev1.PodSpecArgs{
					RestartPolicy:                pulumi.String("Never"),
					AutomountServiceAccountToken: pulumi.Bool(false),
					EnableServiceLinks:           pulumi.Bool(false),
					SecurityContext:              restricted.Pod(user),
					Containers: corev1.ContainerArray{corev1.ContainerArgs{
						Name:    pulumi.String("postgres-init"),
						Image:   pulumi.String(args.Image),
						Command: pulumi.ToStringArray([]string{"/bin/sh", configFolder + "/init.sh"}),
						Env: environment(map[string]string{
							"PGHOST":         host,
							"PGPORT":         fmt.Sprint(postgresPort),
							"CONFIG":         configFolder,
							"PASSWORD_FILE":  adminFolder + "/" + passwordFile,
							"ROLE_PASSWORDS": rolesFolder,
						}),
						Resources:       resources(1000, 64*quantity.MiB),
						SecurityContext: restricted.Container(),
						VolumeMounts: corev1.VolumeMountArray{
							mount("config", configFolder, true),
							mount("admin", adminFolder, true),
							mount("roles", rolesFolder, true),
						},
					}},
					Volumes: corev1.VolumeArray{
						configVolume("config", config),
						secretVolume("admin", admin),
						secretVolume("roles", secret),
					},
				},
			},
		},
	}, append(opts, storeTimeouts())...)
	return err
}
