package data

import (
	"fmt"
	"maps"
	"strings"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
	"platform.example/infra/data/server"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
)

// Backup is where the backups of Postgres go.
type Backup struct {
	Credentials pulumi.StringOutput // <access key ID>:<secret access key>; the zero value for the instances' own role
	Granted     bool                // the credentials are set
	// Of the object store in the cluster.
	Image       string
	Certificate secret.Certificate
}

const (
	backupKeys      = "backup" // the Secret with the keys and the authority of the object store
	objectStoreName = network.ObjectStore
)

// newBackup creates the object store, if it is in the cluster, and the Secret to reach it.
func (a PostgresArgs) newBackup(ctx *pulumi.Context, opts ...pulumi.ResourceOption) ([]pulumi.Resource, error) {
	if !a.Config.Backed() {
		return nil, nil
	}
	keys := pulumi.StringMap{"ca.crt": pulumi.String(a.Config.Backup.CertificateAuthority)}
	if a.Config.ObjectStore() {
		keys["ca.crt"] = a.Authority
	}
	if a.Backup.Granted {
		part := func(of func(id, key string) string) pulumi.StringOutput {
			return a.Backup.Credentials.ApplyT(func(both string) string {
				id, key, _ := strings.Cut(both, ":")
				return of(id, key)
			}).(pulumi.StringOutput)
		}
		keys["id"] = part(func(id, _ string) string { return id })
		keys["key"] = part(func(_, key string) string { return key })
	}
	created, err := corev1.NewSecret(ctx, backupKeys, &corev1.SecretArgs{Metadata: a.reloaded(backupKeys), StringData: keys}, opts...)
	if err != nil || !a.Config.ObjectStore() {
		return []pulumi.Resource{created}, err
	}
	store, err := a.newObjectStore(ctx, created, opts...)
	return []pulumi.Resource{created, store}, err
}

// newObjectStore runs an S3-compatible store (https://github.com/versity/versitygw) whose data is as safe as its volume.
func (a PostgresArgs) newObjectStore(ctx *pulumi.Context, keys *corev1.Secret, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	account, err := kube.NewAccount(ctx, objectStoreName, a.named(objectStoreName), opts...)
	if err != nil {
		return nil, err
	}
	certificate, err := kube.NewCertificate(ctx, objectStoreName+"-certificate", a.named(objectStoreName+"-certificate"), a.Backup.Certificate, opts...)
	if err != nil {
		return nil, err
	}
	if _, err := a.newService(ctx, objectStoreName, network.ObjectStorePort, opts...); err != nil {
		return nil, err
	}
	variable := func(name, key string) corev1.EnvVarArgs {
		return corev1.EnvVarArgs{Name: pulumi.String(name), ValueFrom: corev1.EnvVarSourceArgs{
			SecretKeyRef: corev1.SecretKeySelectorArgs{Name: keys.Metadata.Name(), Key: pulumi.String(key)},
		}}
	}
	probing := func(seconds, failures int) corev1.ProbeArgs {
		return secureProbe("/healthz", network.ObjectStorePort, seconds, failures)
	}
	folder := func(name string) corev1.VolumeMountArgs {
		return corev1.VolumeMountArgs{Name: pulumi.String("data"), MountPath: pulumi.String("/" + name), SubPath: pulumi.String(name)}
	}
	pod := a.pod(account, corev1.ContainerArgs{
		Name:  pulumi.String(objectStoreName),
		Image: pulumi.String(a.Backup.Image),
		Command: pulumi.ToStringArray([]string{
			"/usr/local/bin/versitygw", fmt.Sprintf("--port=:%d", network.ObjectStorePort), "--health=/healthz",
			"--cert=" + server.CertificateFolder + "/tls.crt", "--key=" + server.CertificateFolder + "/tls.key", "posix", "--sidecar=/metadata", "/objects",
		}),
		Env:            corev1.EnvVarArray{variable("ROOT_ACCESS_KEY_ID", "id"), variable("ROOT_SECRET_ACCESS_KEY", "key")},
		Ports:          corev1.ContainerPortArray{kube.Port("https", network.ObjectStorePort)},
		Resources:      kube.Resources(a.Config.Requested(20), 500, 128*quantity.MiB),
		StartupProbe:   probing(2, 60),
		ReadinessProbe: probing(10, 3),
		LivenessProbe:  probing(10, 6),
		VolumeMounts:   corev1.VolumeMountArray{kube.Mount("certificate", server.CertificateFolder, true), folder("objects"), folder("metadata")},
	}, corev1.VolumeArray{kube.SecretVolume("certificate", certificate)})
	// On several local nodes, it prefers the first one, which can't be killed: an external bucket also survives the loss of a node.
	pod.Affinity = corev1.AffinityArgs{NodeAffinity: corev1.NodeAffinityArgs{
		PreferredDuringSchedulingIgnoredDuringExecution: corev1.PreferredSchedulingTermArray{corev1.PreferredSchedulingTermArgs{
			Weight: pulumi.Int(1), Preference: corev1.NodeSelectorTermArgs{MatchExpressions: corev1.NodeSelectorRequirementArray{
				corev1.NodeSelectorRequirementArgs{Key: pulumi.String("node-role.kubernetes.io/control-plane"), Operator: pulumi.String("Exists")},
			}},
		}},
	}}
	spec := statefulSet(objectStoreName, template(objectStoreName, pod), a.Config, a.Config.Postgres.VolumeSize)
	return appsv1.NewStatefulSet(ctx, objectStoreName, &appsv1.StatefulSetArgs{Metadata: a.named(objectStoreName), Spec: spec},
		append(append(opts, cluster.ClaimTemplatesStay()), a.Rollout.Options()...)...)
}

// archive configures where a Postgres cluster archives its WAL and base backups. Each major version has its own archive, because a version
// can't replay the WAL of another.
func (a PostgresArgs) archive(number int) map[string]any {
	key := func(name string) map[string]any { return map[string]any{"name": backupKeys, "key": name} }
	config := a.Config.Backup
	store := map[string]any{
		"destinationPath": config.Bucket, "serverName": strings.TrimSuffix(clusterName(number)+"-"+a.Config.Postgres.Version, "-15"),
		"wal": map[string]any{"compression": "gzip", "maxParallel": 2},
		// Without an immediate checkpoint, a backup waits minutes for the next one.
		"data": map[string]any{"compression": "gzip", "immediateCheckpoint": true},
	}
	endpoint := config.Endpoint
	if a.Config.ObjectStore() {
		endpoint = fmt.Sprintf("https://%s:%d", a.host(objectStoreName), network.ObjectStorePort)
	}
	if endpoint != "" {
		store["endpointURL"] = endpoint
	}
	if a.Config.ObjectStore() || config.CertificateAuthority != "" {
		store["endpointCA"] = key("ca.crt")
	}
	if a.Backup.Granted {
		store["s3Credentials"] = map[string]any{"accessKeyId": key("id"), "secretAccessKey": key("key")}
	} else {
		store["s3Credentials"] = map[string]any{"inheritFromIAMRole": true}
	}
	return store
}

// newSchedule backs a cluster up at once and then each night.
func (a PostgresArgs) newSchedule(ctx *pulumi.Context, number int, opts ...pulumi.ResourceOption) error {
	name := clusterName(number)
	_, err := newCustom(ctx, operatorGroup+"/v1", "ScheduledBackup", name+"-nightly", a.named(name), map[string]any{
		"schedule": "0 30 2 * * *", "immediate": true, "backupOwnerReference": "cluster", "cluster": map[string]any{"name": name},
	}, opts...)
	return err
}

// bootstrap configures the first data of a Postgres cluster: from the archive of another one, from the server of an earlier version of the
// platform, or none.
func (a PostgresArgs) bootstrap(number int) map[string]any {
	restore := a.Config.Postgres.Restore
	if restore.Cluster == number {
		recovery := map[string]any{"source": "origin"}
		if !restore.At.IsZero() {
			recovery["recoveryTarget"] = map[string]any{"targetTime": restore.At.UTC().Format("2006-01-02 15:04:05.000000+00")}
		}
		return map[string]any{
			"bootstrap":        map[string]any{"recovery": recovery},
			"externalClusters": []any{map[string]any{"name": "origin", "barmanObjectStore": a.archive(restore.From)}},
		}
	}
	initdb := map[string]any{"encoding": "UTF8", "localeCollate": "C.UTF-8", "localeCType": "C.UTF-8", "dataChecksums": true}
	if !a.Former {
		return map[string]any{"bootstrap": map[string]any{"initdb": initdb}}
	}
	var databases []string
	for _, service := range a.Services {
		if service.Database != "" {
			databases = append(databases, service.Database)
		}
	}
	maps.Copy(initdb, map[string]any{"import": map[string]any{
		"type": "monolith", "databases": databases, "roles": []string{"*"}, "source": map[string]any{"externalCluster": "former"},
	}})
	return map[string]any{
		"bootstrap": map[string]any{"initdb": initdb},
		"externalClusters": []any{map[string]any{
			"name":                 "former",
			"connectionParameters": map[string]any{"host": a.host(postgresName), "user": postgresSuperior, "dbname": "postgres", "sslmode": "verify-full"},
			"password":             map[string]any{"name": "postgres-superuser", "key": "password"},
			"sslRootCert":          map[string]any{"name": "postgres-authority", "key": "ca.crt"},
		}},
	}
}

// newFreeze makes the server of an earlier version of the platform refuse writes, so that the import misses none.
func (a PostgresArgs) newFreeze(ctx *pulumi.Context, account *corev1.ServiceAccount, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	const name = network.Postgres + "-freeze"
	admin, err := kube.NewSecret(ctx, name, a.generated(name), pulumi.StringMap{server.PasswordFile: inUse(a.AdminPassword)}, opts...)
	if err != nil {
		return nil, err
	}
	content := scripts("postgres", []string{"freeze.sh"}, pulumi.StringMap{server.AuthorityFile: a.Authority})
	config, err := kube.NewConfig(ctx, name, a.generated(name), content, opts...)
	if err != nil {
		return nil, err
	}
	return a.newSetup(ctx, name, network.Postgres+network.Setup, account, corev1.ContainerArgs{
		Image:   pulumi.String(a.Image),
		Command: shell(postgresFolder + "/freeze.sh"),
		Env: kube.Environment(map[string]string{
			"PGHOST": a.host(postgresName), "PGSSLMODE": "verify-full", "PGSSLROOTCERT": postgresFolder + "/" + server.AuthorityFile,
			"PASSWORD_FILE": server.AdminFolder + "/" + server.PasswordFile, "PATIENCE": fmt.Sprint(a.Rollout.Patience()),
		}),
		VolumeMounts: corev1.VolumeMountArray{kube.Mount("config", postgresFolder, true), kube.Mount("admin", server.AdminFolder, true)},
	}, corev1.VolumeArray{kube.ConfigVolume(config), kube.SecretVolume("admin", admin)}, opts...)
}
