package data

import (
	"fmt"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/kube"
	"platform.example/infra/network"
)

const rolesFolder = "/run/secrets/roles"

// newDatabases creates a Job that creates or updates the databases and roles of the services.
func (a PostgresArgs) newDatabases(
	ctx *pulumi.Context, account *corev1.ServiceAccount, server Endpoint, opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	const name = network.Postgres + network.Setup
	passwords := pulumi.StringMap{}
	for _, service := range a.Services {
		if service.Database != "" {
			passwords[service.Role()] = a.Passwords[service.Name]
		}
	}
	passwords[monitor] = a.Monitor
	roles, err := kube.NewSecret(ctx, "postgres-roles", a.generated(name), passwords, opts...)
	if err != nil {
		return nil, err
	}
	admin, err := kube.NewSecret(ctx, name, a.generated(name), pulumi.StringMap{passwordFile: a.AdminPassword}, opts...)
	if err != nil {
		return nil, err
	}
	content := scripts("postgres", []string{
		"setup.sh", "administrator.sql", "role.sql", "login.sql", "former.sql", "databases.sql", "monitor.sql",
	}, pulumi.StringMap{"roles": pulumi.String(a.roles()), authorityFile: server.Authority})
	config, err := kube.NewConfig(ctx, name, a.generated(name), content, opts...)
	if err != nil {
		return nil, err
	}
	return a.newSetup(ctx, name, account, corev1.ContainerArgs{
		Image:   pulumi.String(a.Image),
		Command: shell(postgresFolder + "/setup.sh"),
		Env: kube.Environment(map[string]string{
			"PGHOST":         server.Host,
			"PGPORT":         fmt.Sprint(server.Port),
			"PGUSER":         a.admin(),
			"PGSSLMODE":      "verify-full",
			"PGSSLROOTCERT":  a.roots(),
			"CONFIG":         postgresFolder,
			"PASSWORD_FILE":  adminFolder + "/" + passwordFile,
			"ROLE_PASSWORDS": rolesFolder,
			"PATIENCE":       fmt.Sprint(a.Rollout.Patience()),
		}),
		VolumeMounts: corev1.VolumeMountArray{
			kube.Mount("config", postgresFolder, true),
			kube.Mount("admin", adminFolder, true),
			kube.Mount("roles", rolesFolder, true),
		},
	}, corev1.VolumeArray{
		kube.ConfigVolume(config),
		kube.SecretVolume("admin", admin),
		kube.SecretVolume("roles", roles),
	}, opts...)
}

// roots is the path of the trusted authorities for libpq.
func (a PostgresArgs) roots() string {
	if a.Config.Postgres.Address != "" && a.Config.Postgres.CertificateAuthority == "" {
		return "/etc/ssl/certs/ca-certificates.crt"
	}
	return postgresFolder + "/" + authorityFile
}
