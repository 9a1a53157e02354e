package data

import (
	_ "embed"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/restricted"
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
	postgresName = "postgres"
	postgresPort = 5432
	socketFolder = "/run/postgresql"
	volumeFolder = "/var/lib/postgresql/data"
	configFolder = "/etc/postgres"
	adminFolder  = "/run/secrets/admin" // holds passwordFile
	passwordFile = "password"
)

// Postgres is a server in the cluster with a database and a role for each service that has one.
type Postgres struct {
	pulumi.ResourceState
	host      string
	passwords map[string]pulumi.StringOutput
}

// PostgresArgs describes the server.
type PostgresArgs struct {
	Namespace     *corev1.Namespace
	Config        stack.Stack
	Services      []catalog.Service
	Image         string
	AdminPassword pulumi.StringOutput
	Passwords     map[string]pulumi.StringOutput // of the services' roles, by service
}

// NewPostgres makes the server, and then the databases in it.
func NewPostgres(
	ctx *pulumi.Context, name string, args PostgresArgs, opts ...pulumi.ResourceOption,
) (*Postgres, error) {
	postgres := &Postgres{
		host:      postgresName + "." + namespaceName + ".svc",
		passwords: args.Passwords,
	}
	if err := ctx.RegisterComponentResource("platform:data:Postgres", name, postgres, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(postgres)
	admin, err := corev1.NewSecret(ctx, "postgres-admin", &corev1.SecretArgs{
		Metadata:   args.metadata(),
		Immutable:  pulumi.Bool(true),
		StringData: pulumi.StringMap{passwordFile: args.AdminPassword},
	}, parent)
	if err != nil {
		return nil, err
	}
	service, err := newStoreService(ctx, postgresName, args.Namespace, postgresPort, parent)
	if err != nil {
		return nil, err
	}
	server, err := newPostgresServer(ctx, args, service, admin, parent)
	if err != nil {
		return nil, err
	}
	if err := newDatabases(ctx, args, postgres.host, admin, parent, pulumi.DependsOn([]pulumi.Resource{server})); err != nil {
		return nil, err
	}
	return postgres, ctx.RegisterResourceOutputs(postgres, pulumi.Map{
		"host": pulumi.String(postgres.host),
		"port": pulumi.Int(postgresPort),
	})
}

// Endpoint is how a service reaches its database.
func (p *Postgres) Endpoint(service catalog.Service) Endpoint {
	return Endpoint{Host: p.host, Port: postgresPort, Password: p.passwords[service.Name], Ready: p}
}

// metadata leaves the name to Pulumi, so that changed content is a new object and whoever uses it follows.
func (a PostgresArgs) metadata() metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{
		Namespace: a.Namespace.Metadata.Name(),
		Labels:    labels(postgresName),
	}
}

func newPostgresServer(
	ctx *pulumi.Context, args PostgresArgs, service *corev1.Service, admin *corev1.Secret, opts ...pulumi.ResourceOption,
) (*appsv1.StatefulSet, error) {
	limit := connectionLimit(args.Config.Replicas)
	withDatabase := 0
	for _, service := range args.Services {
		if service.Database != "" {
			withDatabase++
		}
	}
	config, err := corev1.NewConfigMap(ctx, "postgres-config", &corev1.ConfigMapArgs{
		Metadata:  args.metadata(),
		Immutable: pulumi.Bool(true),
		Data: pulumi.StringMap{
			"start.sh":        pulumi.String(startScript),
			"pg_hba.conf":     pulumi.String(hbaConf),
			"postgresql.conf": pulumi.String(postgresConf(args.Config.Postgres.Memory, withDatabase*limit+reserved)),
		},
	}, opts...)
	if err != nil {
		return nil, err
	}
	opts = append(opts, storeTimeouts(), protected(args.Config))
	return appsv1.NewStatefulSet(ctx, postgresName, &appsv1.StatefulSetArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:      pulumi.String(postgresName),
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    labels(postgresName),
		},
		Spec: appsv1.StatefulSetSpecArgs{
			Replicas:    pulumi.Int(1),
			ServiceName: service.Metadata.Name().Elem(),
			Selector:    metav1.LabelSelectorArgs{MatchLabels: labels(postgresName)},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels(postgresName)},
				Spec:     postgresPod(args, config, admin),
			},
			VolumeClaimTemplates:                 corev1.PersistentVolumeClaimTypeArray{dataVolume(args.Config, args.Config.Postgres.VolumeSize)},
			PersistentVolumeClaimRetentionPolicy: retainVolumes(),
		},
	}, opts...)
}

func postgresPod(args PostgresArgs, config *corev1.ConfigMap, admin *corev1.Secret) corev1.PodSpecArgs {
	isReady := "/usr/lib/postgresql/15/bin/pg_isready --quiet --host=" + socketFolder
	return corev1.PodSpecArgs{
		AutomountServiceAccountToken:  pulumi.Bool(false),
		EnableServiceLinks:            pulumi.Bool(false),
		TerminationGracePeriodSeconds: pulumi.Int(60), // for the checkpoint at shutdown
		SecurityContext:               restricted.Pod(user),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name:    pulumi.String(postgresName),
			Image:   pulumi.String(args.Image),
			Command: pulumi.ToStringArray([]string{"/bin/sh", configFolder + "/start.sh"}),
			Env: environment(map[string]string{
				"PGDATA":        volumeFolder + "/pgdata", // a folder below: the volume's own may hold lost+found
				"CONFIG":        configFolder,
				"PASSWORD_FILE": adminFolder + "/" + passwordFile,
			}),
			Ports: corev1.ContainerPortArray{corev1.ContainerPortArgs{
				Name: pulumi.String(postgresName), ContainerPort: pulumi.Int(postgresPort),
			}},
			Resources:       resources(args.Config.Postgres.CPU, args.Config.Postgres.Memory),
			SecurityContext: restricted.Container(),
			// Recovery after a crash may take minutes, in which the server is alive but turns clients away (exit code 1).
			StartupProbe:   probe("exec "+isReady, 1, 600),
			ReadinessProbe: probe("exec "+isReady, 5, 2),
			LivenessProbe:  probe(isReady+"; [ $? -le 1 ]", 10, 3),
			// SIGTERM alone would wait for every client to leave; SIGINT makes them go.
			Lifecycle: corev1.LifecycleArgs{PreStop: corev1.LifecycleHandlerArgs{
				Exec: corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/sh", "-c", "kill -INT 1"})},
			}},
			VolumeMounts: corev1.VolumeMountArray{
				mount("data", volumeFolder, false),
				mount("socket", socketFolder, false),
				mount("config", configFolder, true),
				mount("admin", adminFolder, true),
			},
		}},
		Volumes: corev1.VolumeArray{
			corev1.VolumeArgs{Name: pulumi.String("socket"), EmptyDir: corev1.EmptyDirVolumeSourceArgs{}},
			configVolume("config", config),
			secretVolume("admin", admin),
		},
	}
}
