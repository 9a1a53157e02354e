package data

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/api/resource"

	"platform.example/infra/catalog"
	"platform.example/infra/data/server"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
)

const (
	postgresName     = network.Postgres
	postgresFolder   = "/etc/postgres"
	postgresSuperior = "postgres" // the superuser of a server in the cluster
)

// Postgres is a server with a database and a role for each service that uses one.
type Postgres struct {
	pulumi.ResourceState
	endpoint  Endpoint
	pooler    string // host of the pooler; empty without one
	passwords map[string]pulumi.StringOutput
	monitor   pulumi.StringOutput
}

// PostgresArgs describes the server.
type PostgresArgs struct {
	Common
	Image               string // of the Jobs, whose scripts run with any version of the server
	ServerImage         string
	OperatorImage       string
	PoolerImage         string
	Certificate         secret.Certificate // of a server in the cluster
	Backup              Backup
	Former              bool // the server of an earlier version of the platform runs, and its data is imported
	OperatorCertificate secret.Certificate
	AdminPassword       pulumi.StringOutput            // of the administrator; the one in use, then the former one
	Passwords           map[string]pulumi.StringOutput // by service, like AdminPassword
	Monitor             pulumi.StringOutput            // of the exporter, like AdminPassword
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
	var instances []pulumi.Resource
	if args.Config.Postgres.Address == "" {
		if instances, err = args.newServer(ctx, account, parent); err != nil {
			return nil, err
		}
		postgres.endpoint = Endpoint{Host: args.host(postgresName), Port: network.PostgresPort, Authority: args.Authority}
		if args.Config.Postgres.Pooler > 0 {
			postgres.pooler = args.host(network.Pooler)
		}
	} else {
		postgres.endpoint = elsewhere(args.Config.Postgres.Store)
	}
	setup, err := args.newDatabases(ctx, account, postgres.endpoint, parent, pulumi.DependsOn(instances))
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
	endpoint := p.endpoint.as(service.Role(), p.passwords[service.Name])
	if p.pooler != "" {
		endpoint.Host, endpoint.Direct = p.pooler, endpoint.Host
	}
	return endpoint
}

// MonitorEndpoint is the endpoint of the exporter.
func (p *Postgres) MonitorEndpoint() Endpoint { return p.endpoint.as(server.Monitor, p.monitor) }

// as returns the endpoint with the login of a role.
func (e Endpoint) as(role string, passwords pulumi.StringOutput) Endpoint {
	e.Password = inUse(passwords)
	e.User = e.Password.ApplyT(func(password string) string { return server.Login(role, password) }).(pulumi.StringOutput)
	return e
}

// newServer creates the cluster of CloudNativePG whose primary serves, and the Service with its address.
func (a PostgresArgs) newServer(ctx *pulumi.Context, account *corev1.ServiceAccount, opts ...pulumi.ResourceOption) ([]pulumi.Resource, error) {
	operator, err := a.newOperator(ctx, opts...)
	if err != nil {
		return nil, err
	}
	// The operator changes the superuser's password in the server to this one.
	admin, err := corev1.NewSecret(ctx, "postgres-admin", &corev1.SecretArgs{
		Metadata:   a.reloaded("postgres-superuser"),
		Type:       pulumi.String("kubernetes.io/basic-auth"),
		StringData: pulumi.StringMap{"username": pulumi.String(postgresSuperior), "password": inUse(a.AdminPassword)},
	}, opts...)
	if err != nil {
		return nil, err
	}
	certificate, err := kube.NewCertificate(ctx, postgresName+"-certificate", a.reloaded(postgresName+"-certificate"), a.Certificate, opts...)
	if err != nil {
		return nil, err
	}
	authority, err := corev1.NewSecret(ctx, "postgres-authority", &corev1.SecretArgs{
		Metadata: a.reloaded("postgres-authority"), StringData: pulumi.StringMap{"ca.crt": a.Authority},
	}, opts...)
	if err != nil {
		return nil, err
	}
	backup, err := a.newBackup(ctx, opts...)
	if err != nil {
		return nil, err
	}
	before := slices.Concat(operator, backup, []pulumi.Resource{admin, certificate, authority})
	if a.Former {
		frozen, err := a.newFreeze(ctx, account, append(opts, pulumi.DependsOn(before))...)
		if err != nil {
			return nil, err
		}
		before = []pulumi.Resource{frozen}
	}
	var clusters []pulumi.Resource
	for _, number := range append([]int{a.Config.Postgres.Cluster}, a.Config.Postgres.Beside...) {
		options := slices.Concat(opts, a.Rollout.Options(), []pulumi.ResourceOption{pulumi.Protect(a.Config.ProtectData), pulumi.DependsOn(before)})
		if a.Former || number == a.Config.Postgres.Restore.Cluster { // its time depends on the amount of data
			options = append(options, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "12h"}))
		}
		created, err := a.newCluster(ctx, number, options...)
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, created)
		if a.Config.Backed() {
			if err := a.newSchedule(ctx, number, append(opts, pulumi.DependsOn([]pulumi.Resource{created}))...); err != nil {
				return nil, err
			}
		}
	}
	tcp := corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String("tcp"), Port: pulumi.Int(network.PostgresPort)}}
	primary := pulumi.StringMap{
		"cnpg.io/cluster": pulumi.String(clusterName(a.Config.Postgres.Cluster)), "cnpg.io/instanceRole": pulumi.String("primary"),
	}
	behind, after := primary, slices.Concat(opts, []pulumi.ResourceOption{pulumi.DependsOn(clusters)})
	if a.Config.Postgres.Pooler > 0 {
		if behind, err = a.newPooler(ctx, after...); err != nil {
			return nil, err
		}
	}
	// Without a pooler, its Service selects the primary, so that versions that were released with a pooler keep their database.
	for name, selector := range map[string]pulumi.StringMap{postgresName: primary, network.Pooler: behind} {
		service, err := kube.NewService(ctx, name, a.named(name), corev1.ServiceSpecArgs{Ports: tcp, Selector: selector}, after...)
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, service)
	}
	return clusters, nil
}

// reloaded is the metadata of a Secret that instances reload when it changes.
func (a PostgresArgs) reloaded(name string) metav1.ObjectMetaArgs {
	metadata := a.named(name)
	metadata.Labels = pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(postgresName), "cnpg.io/reload": pulumi.String("true")}
	return metadata
}

// watched is a JSON patch of an instance's pod (RFC 6902): watch.sh starts the instance manager.
func watched() string {
	script := scripts("postgres", []string{"watch.sh"}, pulumi.StringMap{})["watch.sh"]
	var patch []map[string]any
	for _, word := range []any{"sh", script, "-c", "/bin/sh"} { // the operator reads a flag in the manager's own command, which follows
		patch = append(patch, map[string]any{"op": "add", "path": "/spec/containers/0/command/0", "value": word})
	}
	text, _ := json.Marshal(patch) // strings can always be marshalled
	return string(text)
}

// canonical writes quantities as the operator does, so that updates find no difference.
func canonical(resources corev1.ResourceRequirementsArgs) corev1.ResourceRequirementsArgs {
	for _, list := range []pulumi.StringMapInput{resources.Requests, resources.Limits} {
		for name, text := range list.(pulumi.StringMap) {
			quantity := resource.MustParse(string(text.(pulumi.String)))
			list.(pulumi.StringMap)[name] = pulumi.String(quantity.String())
		}
	}
	return resources
}

// probes let a pod become ready soon after its server. If a primary has no network, its liveness probe fails, and the kubelet kills it
// after five seconds: a clean shutdown would wait for standbys and the archive. A single instance has the patient probe of the operator.
func probes(instances int) map[string]any {
	all := map[string]any{
		"startup":   map[string]any{"periodSeconds": 1},
		"readiness": map[string]any{"periodSeconds": 2, "failureThreshold": 15},
	}
	if instances > 1 {
		all["liveness"] = map[string]any{"periodSeconds": 5, "failureThreshold": 4, "terminationGracePeriodSeconds": 5}
	}
	return all
}

func clusterName(number int) string { return fmt.Sprintf("%s-%d", postgresName, number) }

// newCluster creates one Postgres cluster: a primary, and standbys that replicate it.
func (a PostgresArgs) newCluster(ctx *pulumi.Context, number int, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	config, name := a.Config.Postgres, clusterName(number)
	metadata := a.named(name)
	metadata.Annotations = pulumi.StringMap{"pulumi.com/waitFor": pulumi.String("condition=Ready"), "cnpg.io/podPatch": pulumi.String(watched())}
	if number != config.Cluster && number != config.Restore.Cluster { // it keeps only its volumes, so that no client writes to it
		maps.Copy(metadata.Annotations.(pulumi.StringMap), pulumi.StringMap{
			"cnpg.io/hibernation": pulumi.String("on"), "pulumi.com/waitFor": pulumi.String("condition=cnpg.io/hibernation"),
		})
	}
	storage := map[string]any{"size": config.VolumeSize.String()}
	if a.Config.StorageClass != "" {
		storage["storageClass"] = a.Config.StorageClass
	}
	affinity := map[string]any{"enablePodAntiAffinity": true, "podAntiAffinityType": "preferred", "topologyKey": "topology.kubernetes.io/zone"}
	if len(a.Profile.NodeSelector) > 0 {
		affinity["nodeSelector"] = a.Profile.NodeSelector
	}
	if len(a.Profile.Tolerations) > 0 {
		affinity["tolerations"] = kube.Tolerations(a.Profile)
	}
	postgresql := map[string]any{
		"parameters": server.PostgresConf(config.Memory, a.Config.MaxConnections(a.Services)),
		"pg_hba":     server.HostRules,
	}
	if config.Instances > 2 { // a commit waits for one standby, so that a failover loses nothing
		postgresql["synchronous"] = map[string]any{"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": true}
	}
	spec := map[string]any{
		"instances":                 config.Instances,
		"imageName":                 a.ServerImage,
		"enablePDB":                 config.Instances > 1, // the only instance could never be evicted
		"enableSuperuserAccess":     true,
		"superuserSecret":           map[string]any{"name": "postgres-superuser"},
		"certificates":              map[string]any{"serverTLSSecret": postgresName + "-certificate", "serverCASecret": "postgres-authority"},
		"postgresql":                postgresql,
		"env":                       []any{map[string]any{"name": "AWS_MAX_ATTEMPTS", "value": "2"}}, // a promotion waits for the archive
		"storage":                   storage,
		"resources":                 canonical(a.limited(config.CPU, config.Memory)),
		"ephemeralVolumesSizeLimit": map[string]any{"shm": max(64*quantity.MiB, config.Memory/8).String(), "temporaryData": "256Mi"},
		"priorityClassName":         a.Namespace.Priority,
		"inheritedMetadata":         map[string]any{"labels": network.Selector(postgresName), "annotations": kube.Scraped(network.InstanceMetricsPort)},
		"managed":                   map[string]any{"services": map[string]any{"disabledDefaultServices": []string{"ro", "r"}}},
		"smartShutdownTimeout":      1,
		"stopDelay":                 60, // for the checkpoint at shutdown
		"switchoverDelay":           20,
		// A standby takes over this many seconds after the last sign of a lost primary.
		"primaryLease":          map[string]any{"leaseDurationSeconds": 8, "renewDeadlineSeconds": 5, "retryPeriodSeconds": 1},
		"probes":                probes(config.Instances),
		"primaryUpdateStrategy": "unsupervised",
		"primaryUpdateMethod":   "switchover",
		"affinity":              affinity,
	}
	if len(a.Profile.ImagePullSecrets) > 0 {
		spec["imagePullSecrets"] = kube.PullSecrets(a.Profile)
	}
	if a.Config.Backed() {
		if annotations := a.Config.Backup.Annotations; len(annotations) > 0 {
			spec["serviceAccountTemplate"] = map[string]any{"metadata": map[string]any{"annotations": annotations}}
		}
		spec["backup"] = map[string]any{"retentionPolicy": fmt.Sprintf("%dd", a.Config.Backup.Retention), "barmanObjectStore": a.archive(number)}
	}
	maps.Copy(spec, a.bootstrap(number))
	// The bootstrap of an existing Postgres cluster never changes. A change of the probes would restart the instances.
	opts = append(opts, pulumi.IgnoreChanges([]string{"spec.bootstrap", "spec.externalClusters", "spec.probes"}))
	return newCustom(ctx, operatorGroup+"/v1", "Cluster", name, metadata, spec, opts...)
}

// admin is the role that creates roles and databases.
func (a PostgresArgs) admin() string {
	if a.Config.Postgres.Address == "" {
		return postgresSuperior
	}
	return a.Config.Postgres.AdminUser
}

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
	ctx *pulumi.Context, account *corev1.ServiceAccount, endpoint Endpoint, opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	const name = network.Postgres + network.Setup
	passwords := pulumi.StringMap{}
	for _, service := range a.Services {
		if service.Database != "" {
			passwords[service.Role()] = a.Passwords[service.Name]
		}
	}
	passwords[server.Monitor] = a.Monitor
	roles, err := kube.NewSecret(ctx, "postgres-roles", a.generated(name), passwords, opts...)
	if err != nil {
		return nil, err
	}
	admin, err := kube.NewSecret(ctx, name, a.generated(name), pulumi.StringMap{server.PasswordFile: a.AdminPassword}, opts...)
	if err != nil {
		return nil, err
	}
	content := scripts("postgres", []string{
		"setup.sh", "administrator.sql", "role.sql", "login.sql", "former.sql", "databases.sql", "monitor.sql",
	}, pulumi.StringMap{"roles": pulumi.String(a.roles()), server.AuthorityFile: endpoint.Authority})
	config, err := kube.NewConfig(ctx, name, a.generated(name), content, opts...)
	if err != nil {
		return nil, err
	}
	return a.newSetup(ctx, name, name, account, corev1.ContainerArgs{
		Image:   pulumi.String(a.Image),
		Command: shell(postgresFolder + "/setup.sh"),
		Env: kube.Environment(map[string]string{
			"PGHOST":         endpoint.Host,
			"PGPORT":         fmt.Sprint(endpoint.Port),
			"PGUSER":         a.admin(),
			"PGSSLMODE":      "verify-full",
			"PGSSLROOTCERT":  a.roots(),
			"CONFIG":         postgresFolder,
			"PASSWORD_FILE":  server.AdminFolder + "/" + server.PasswordFile,
			"ROLE_PASSWORDS": rolesFolder,
			"PATIENCE":       fmt.Sprint(a.Rollout.Patience()),
			"CLUSTER":        fmt.Sprint(a.Config.Postgres.Cluster), // a restored one is set up, too
		}),
		VolumeMounts: corev1.VolumeMountArray{
			kube.Mount("config", postgresFolder, true),
			kube.Mount("admin", server.AdminFolder, true),
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
	return postgresFolder + "/" + server.AuthorityFile
}
