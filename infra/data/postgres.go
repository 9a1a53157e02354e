package data

import (
	_ "embed"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// The server's scripts rely on /bin/sh, coreutils and PostgreSQL 15 where Debian puts it, on no image's entrypoint.
var (
	//go:embed postgres/start.sh
	startScript string
	//go:embed postgres/pg_hba.conf
	hbaConf string
)

const (
	postgresName     = network.Postgres
	socketFolder     = "/run/postgresql"
	volumeFolder     = "/var/lib/postgresql/data"
	postgresFolder   = "/etc/postgres"
	postgresSuperior = "postgres" // the superuser of a server in the cluster
)

// Postgres is a server with a database and a role for each service that has one.
type Postgres struct {
	pulumi.ResourceState
	endpoint  Endpoint
	passwords map[string]pulumi.StringOutput
	monitor   pulumi.StringOutput
}

// PostgresArgs describes the server.
type PostgresArgs struct {
	Common
	Config        stack.Stack
	Services      []catalog.Service
	Image         string
	Certificate   secret.Certificate             // of a server in the cluster
	AdminPassword pulumi.StringOutput            // of who may make roles and databases; the one in use first, then the one before
	Passwords     map[string]pulumi.StringOutput // of the services, by service, as AdminPassword
	Monitor       pulumi.StringOutput            // the password of who only looks at statistics, as AdminPassword
}

// NewPostgres makes the server, unless it is elsewhere, and then the databases in it.
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
		made, err := args.newServer(ctx, account, parent)
		if err != nil {
			return nil, err
		}
		server = append(server, made)
		postgres.endpoint = Endpoint{Host: catalog.PostgresHost(args.Prefix), Port: network.PostgresPort, Authority: args.Authority}
	} else {
		postgres.endpoint = elsewhere(args.Config.Postgres.Store)
	}
	setup, err := args.newDatabases(ctx, account, postgres.endpoint, parent, pulumi.DependsOn(server))
	if err != nil {
		return nil, err
	}
	postgres.endpoint.Ready = []pulumi.Resource{setup}
	return postgres, ctx.RegisterResourceOutputs(postgres, pulumi.Map{
		"host": pulumi.String(postgres.endpoint.Host),
		"port": pulumi.Int(postgres.endpoint.Port),
	})
}

// Endpoint is how a service reaches its database; nothing for a service that has none.
func (p *Postgres) Endpoint(service catalog.Service) Endpoint {
	if service.Database == "" {
		return Endpoint{}
	}
	return p.endpoint.as(service.Role(), p.passwords[service.Name])
}

// MonitorEndpoint is how an exporter reaches the server's statistics.
func (p *Postgres) MonitorEndpoint() Endpoint { return p.endpoint.as(monitor, p.monitor) }

// as signs in to act as a role.
func (e Endpoint) as(role string, passwords pulumi.StringOutput) Endpoint {
	e.Password = inUse(passwords)
	e.User = e.Password.ApplyT(func(password string) string { return login(role, password) }).(pulumi.StringOutput)
	return e
}

func (a PostgresArgs) newServer(
	ctx *pulumi.Context, account *corev1.ServiceAccount, opts ...pulumi.ResourceOption,
) (*appsv1.StatefulSet, error) {
	// Its name stays when the password is rotated, and so the server runs on; the Job changes the password in it.
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
	config, err := corev1.NewConfigMap(ctx, "postgres-config", &corev1.ConfigMapArgs{
		Metadata:  a.generated(postgresName),
		Immutable: pulumi.Bool(true),
		Data: pulumi.StringMap{
			"start.sh":        pulumi.String(startScript),
			"pg_hba.conf":     pulumi.String(hbaConf),
			"postgresql.conf": pulumi.String(postgresConf(a.Config.Postgres.Memory, a.Config.MaxConnections(a.Services))),
		},
	}, opts...)
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
		Env: environment(map[string]string{
			"PGDATA":        volumeFolder + "/pgdata", // a folder below: the volume's own may hold lost+found
			"CONFIG":        postgresFolder,
			"CERTIFICATE":   certificateFolder,
			"PASSWORD_FILE": adminFolder + "/" + passwordFile,
		}),
		Ports:     corev1.ContainerPortArray{kube.Port(postgresName, network.PostgresPort)},
		Resources: a.limited(a.Config.Postgres.CPU, a.Config.Postgres.Memory),
		// Recovery after a crash may take minutes, in which the server is alive but turns clients away (exit code 1).
		StartupProbe:   probe("exec "+isReady, 1, 600),
		ReadinessProbe: probe("exec "+isReady, readySeconds, readyFailures),
		LivenessProbe:  probe(isReady+"; [ $? -le 1 ]", aliveSeconds, aliveFailures),
		// SIGTERM alone would wait for every client to leave; SIGINT makes them go.
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
		// Workers of one query share memory here; of its own, a container has 64 MiB, however large the server is.
		corev1.VolumeArgs{Name: pulumi.String("shared-memory"), EmptyDir: corev1.EmptyDirVolumeSourceArgs{
			Medium: pulumi.String("Memory"), SizeLimit: pulumi.String(max(64*quantity.MiB, a.Config.Postgres.Memory/8).String()),
		}},
	})
	pod.TerminationGracePeriodSeconds = pulumi.Int(60) // for the checkpoint at shutdown
	return pod
}

// admin is who makes roles and databases.
func (a PostgresArgs) admin() string {
	if a.Config.Postgres.Address == "" {
		return postgresSuperior
	}
	return a.Config.Postgres.AdminUser
}
