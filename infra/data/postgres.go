package data

import (
	"fmt"
	"strings"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
)

const (
	postgresName     = network.Postgres
	socketFolder     = "/run/postgresql"
	volumeFolder     = "/var/lib/postgresql/data"
	postgresFolder   = "/etc/postgres"
	postgresSuperior = "postgres" // the superuser of a server in the cluster
)

// Postgres is a server with a database and a role for each service that uses one.
type Postgres struct {
	pulumi.ResourceState
	endpoint  Endpoint
	passwords map[string]pulumi.StringOutput
	monitor   pulumi.StringOutput
}

// PostgresArgs describes the server.
type PostgresArgs struct {
	Common
	Image         string
	Certificate   secret.Certificate             // of a server in the cluster
	AdminPassword pulumi.StringOutput            // of the administrator; the one in use, then the former one
	Passwords     map[string]pulumi.StringOutput // by service, like AdminPassword
	Monitor       pulumi.StringOutput            // of the exporter, like AdminPassword
}

// NewPostgres creates the server, unless it is external, and the databases in it.
func NewPostgres(
	ctx *pulumi.Context, name string, args PostgresArgs, opts ...pulumi.ResourceOption,
) (*Postgres, error) {
	postgres := &Postgres{passwords: args.Passwords, monitor: args.Monitor}
	if err := ctx.RegisterComponentResource("platform:data:Postgres", name, postgres, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(postgres)
	account, err := kube.NewAccount(ctx, postgresName, args.named(postgresName), parent)
	if err != nil {
		return nil, err
	}
	var server []pulumi.Resource
	if args.Config.Postgres.Address == "" {
		created, err := args.newServer(ctx, account, parent)
		if err != nil {
			return nil, err
		}
		server = append(server, created)
		postgres.endpoint = Endpoint{Host: args.host(postgresName), Port: network.PostgresPort, Authority: args.Authority}
	} else {
		postgres.endpoint = elsewhere(args.Config.Postgres.Store)
	}
	setup, err := args.newDatabases(ctx, account, postgres.endpoint, parent, pulumi.DependsOn(server))
	if err != nil {
		return nil, err
	}
	postgres.endpoint.Ready = []pulumi.Resource{setup}
	return postgres, ctx.RegisterResourceOutputs(postgres, pulumi.Map{})
}

// Endpoint is the endpoint of a service's database, or zero without one.
func (p *Postgres) Endpoint(service catalog.Service) Endpoint {
	if service.Database == "" {
		return Endpoint{}
	}
	return p.endpoint.as(service.Role(), p.passwords[service.Name])
}

// MonitorEndpoint is the endpoint of the exporter.
func (p *Postgres) MonitorEndpoint() Endpoint { return p.endpoint.as(monitor, p.monitor) }

// as is the endpoint with the login of a role.
func (e Endpoint) as(role string, passwords pulumi.StringOutput) Endpoint {
	e.Password = inUse(passwords)
	e.User = e.Password.ApplyT(func(password string) string { return login(role, password) }).(pulumi.StringOutput)
	return e
}

func (a PostgresArgs) newServer(
	ctx *pulumi.Context, account *corev1.ServiceAccount, opts ...pulumi.ResourceOption,
) (*appsv1.StatefulSet, error) {
	// It keeps its name when the password is rotated, so that the server isn't restarted. The Job changes the password in the server.
	admin, err := corev1.NewSecret(ctx, "postgres-admin", &corev1.SecretArgs{
		Metadata:   a.named("postgres-admin"),
		StringData: pulumi.StringMap{passwordFile: a.AdminPassword},
	}, opts...)
	if err != nil {
		return nil, err
	}
	certificate, err := kube.NewCertificate(ctx, postgresName+"-certificate", a.named(postgresName+"-certificate"), a.Certificate, opts...)
	if err != nil {
		return nil, err
	}
	content := scripts("postgres", []string{"start.sh", "pg_hba.conf"}, pulumi.StringMap{
		"postgresql.conf": pulumi.String(postgresConf(a.Config.Postgres.Memory, a.Config.MaxConnections(a.Services))),
	})
	config, err := kube.NewConfig(ctx, "postgres-config", a.generated(postgresName), content, opts...)
	if err != nil {
		return nil, err
	}
	service, err := a.newService(ctx, postgresName, network.PostgresPort, opts...)
	if err != nil {
		return nil, err
	}
	opts = append(opts, pulumi.Protect(a.Config.ProtectData), cluster.ClaimTemplatesStay())
	template := template(postgresName, a.pod(account, config, admin, certificate))
	return appsv1.NewStatefulSet(ctx, postgresName, &appsv1.StatefulSetArgs{
		Metadata: a.named(postgresName),
		Spec:     statefulSet(service, postgresName, template, a.Config, a.Config.Postgres.VolumeSize),
	}, append(opts, a.Rollout.Options()...)...)
}

func (a PostgresArgs) pod(
	account *corev1.ServiceAccount, config *corev1.ConfigMap, admin, certificate *corev1.Secret,
) corev1.PodSpecArgs {
	isReady := "/usr/lib/postgresql/15/bin/pg_isready --quiet --host=" + socketFolder
	server := corev1.ContainerArgs{
		Name:    pulumi.String(postgresName),
		Image:   pulumi.String(a.Image),
		Command: shell(postgresFolder + "/start.sh"),
		Env: kube.Environment(map[string]string{
			"PGDATA":        volumeFolder + "/pgdata", // a subfolder, since the volume may contain lost+found
			"CONFIG":        postgresFolder,
			"CERTIFICATE":   certificateFolder,
			"PASSWORD_FILE": adminFolder + "/" + passwordFile,
		}),
		Ports:     corev1.ContainerPortArray{kube.Port(postgresName, network.PostgresPort)},
		Resources: a.limited(a.Config.Postgres.CPU, a.Config.Postgres.Memory),
		// Recovery after a crash may take minutes. The server is then alive but refuses clients (exit code 1).
		StartupProbe:   probe("exec "+isReady, 1, 600),
		ReadinessProbe: probe("exec "+isReady, readySeconds, readyFailures),
		LivenessProbe:  probe(isReady+"; [ $? -le 1 ]", aliveSeconds, aliveFailures),
		// SIGTERM would wait for all clients to disconnect. SIGINT disconnects them.
		Lifecycle: corev1.LifecycleArgs{PreStop: corev1.LifecycleHandlerArgs{
			Exec: corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/sh", "-c", "kill -INT 1"})},
		}},
		VolumeMounts: corev1.VolumeMountArray{
			kube.Mount("data", volumeFolder, false),
			kube.Mount("socket", socketFolder, false),
			kube.Mount("config", postgresFolder, true),
			kube.Mount("admin", adminFolder, true),
			kube.Mount("certificate", certificateFolder, true),
			kube.Mount("shared-memory", "/dev/shm", false),
		},
	}
	pod := a.Common.pod(account, server, corev1.VolumeArray{
		scratch("socket"),
		kube.ConfigVolume(config),
		kube.SecretVolume("admin", admin),
		kube.SecretVolume("certificate", certificate),
		// Parallel workers of a query share memory here. A container's default is 64 MiB.
		corev1.VolumeArgs{Name: pulumi.String("shared-memory"), EmptyDir: corev1.EmptyDirVolumeSourceArgs{
			Medium: pulumi.String("Memory"), SizeLimit: pulumi.String(max(64*quantity.MiB, a.Config.Postgres.Memory/8).String()),
		}},
	})
	pod.TerminationGracePeriodSeconds = pulumi.Int(60) // for the checkpoint at shutdown
	return pod
}

// admin is the role that creates roles and databases.
func (a PostgresArgs) admin() string {
	if a.Config.Postgres.Address == "" {
		return postgresSuperior
	}
	return a.Config.Postgres.AdminUser
}

// postgresConf tunes the server to its memory limit, as in the PostgreSQL documentation, "Resource Consumption".
func postgresConf(memory quantity.Bytes, maxConnections int) string {
	mebibytes := int(memory)
	lines := []string{
		"listen_addresses = '*'",
		fmt.Sprintf("port = %d", network.PostgresPort),
		"unix_socket_directories = '" + socketFolder + "'",
		fmt.Sprintf("max_connections = %d", maxConnections),
		"password_encryption = 'scram-sha-256'",
		"ssl = on",
		"ssl_cert_file = '" + certificateFolder + "/tls.crt'",
		"ssl_key_file = '" + certificateFolder + "/tls.key'",
		"ssl_min_protocol_version = 'TLSv1.2'",
		"shared_buffers = " + megabytes(mebibytes/4),
		"effective_cache_size = " + megabytes(mebibytes/2),
		"maintenance_work_mem = " + megabytes(mebibytes/16),
		// Connections share a quarter of the memory, since only one colour is live.
		fmt.Sprintf("work_mem = %dkB", max(64, mebibytes*1024/4/maxConnections)),
		"idle_in_transaction_session_timeout = '60s'", // releases the locks of a stuck client
		"log_destination = 'stderr'",
		"log_line_prefix = '%m [%p] %q%u@%d '",
		"log_min_duration_statement = '1s'",
		"log_parameter_max_length = 0", // parameters are personal data
		"log_timezone = 'UTC'",
		"timezone = 'UTC'",
	}
	return strings.Join(lines, "\n") + "\n"
}

// megabytes formats MiB for Postgres, whose MB is 1024 × 1024 bytes.
func megabytes(mebibytes int) string { return fmt.Sprintf("%dMB", mebibytes) }

// roles is the input of setup.sh: role, database and connection limit of each service with a database.
func (a PostgresArgs) roles() string {
	var lines strings.Builder
	for _, service := range a.Services {
		if service.Database != "" {
			limit := a.Config.Services[service.Name].Replicas.Connections()
			fmt.Fprintf(&lines, "%s %s %d\n", service.Role(), service.Database, limit)
		}
	}
	return lines.String()
}

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
