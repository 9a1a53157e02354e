package data

import (
	"fmt"
	"maps"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data/server"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// redisServer is the common part of the cache and the stream.
type redisServer struct {
	RedisArgs
	server.Redis
	name   string
	users  []redisUser
	memory quantity.Bytes // of the pod
	starts int            // time limit of a start in seconds
	data   string         // path of the volume "data"; empty for none
}

// redisUser is a user of a Redis.
type redisUser struct {
	server.User
	password pulumi.StringOutput // the one in use, then the former one
}

// acl is the ACL file.
func (s redisServer) acl() pulumi.StringOutput {
	acl := pulumi.String(server.NobodyElse).ToStringOutput()
	for _, user := range s.users {
		acl = pulumi.Sprintf("%s%s", acl, user.password.ApplyT(user.Line))
	}
	return acl
}

// redisObjects are the objects of the server's pod.
type redisObjects struct {
	account            *corev1.ServiceAccount
	config             *corev1.ConfigMap
	users, certificate *corev1.Secret
}

func (s redisServer) newObjects(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (created redisObjects, err error) {
	if created.account, err = kube.NewAccount(ctx, s.name, s.named(s.name), opts...); err != nil {
		return created, err
	}
	if created.certificate, err = kube.NewCertificate(ctx, s.name+"-certificate", s.named(s.name+"-certificate"), s.Certificate, opts...); err != nil {
		return created, err
	}
	// It keeps its name when a password is rotated, so that the server isn't restarted. The Job changes the users in the server.
	created.users, err = corev1.NewSecret(ctx, s.name+"-users", &corev1.SecretArgs{
		Metadata:   s.named(s.name + "-users"),
		StringData: pulumi.StringMap{server.UsersFile: s.acl(), server.PasswordFile: s.users[0].password},
	}, opts...)
	if err != nil {
		return created, err
	}
	files, content := []string{"start.sh"}, pulumi.StringMap{"redis.conf": pulumi.String(s.Conf())}
	if len(s.Instances) > 1 {
		files = append(files, "primary.sh", "rights.sh", "instance.sh", "sentinel.sh")
		content[server.AuthorityFile] = s.Authority
	}
	created.config, err = kube.NewConfig(ctx, s.name, s.generated(s.name), scripts("redis", files, content), opts...)
	return created, err
}

func (s redisServer) pod(objects redisObjects) corev1.PodSpecArgs {
	answers := server.Answering(server.AdminFolder, server.RedisSocket)
	mounts := corev1.VolumeMountArray{
		kube.Mount("config", server.RedisFolder, true),
		kube.Mount("socket", server.RedisSocket, false),
		kube.Mount("admin", server.AdminFolder, true),
		kube.Mount("certificate", server.CertificateFolder, true),
	}
	if s.data != "" {
		mounts = append(mounts, kube.Mount("data", s.data, false))
	}
	script, environment := "/start.sh", map[string]string{
		"CONFIG":        server.RedisFolder,
		"CERTIFICATE":   server.CertificateFolder,
		"PASSWORD_FILE": server.AdminFolder + "/" + server.PasswordFile,
		"SOCKET":        server.RedisSocket + "/redis.sock",
	}
	if len(s.Instances) > 1 {
		script = "/instance.sh"
		maps.Copy(environment, s.Environment())
		mounts = append(mounts, kube.Mount("sentinel", server.SentinelFolder, false))
	}
	pod := s.Common.pod(objects.account, corev1.ContainerArgs{
		Name:           pulumi.String(s.name),
		Image:          pulumi.String(s.Image),
		Command:        shell(server.RedisFolder + script),
		Env:            kube.Environment(environment),
		Ports:          corev1.ContainerPortArray{kube.Port("redis", network.RedisPort)},
		Resources:      s.limited(1000, s.memory),
		StartupProbe:   probe(answers, 1, s.starts),
		ReadinessProbe: probe(answers, readySeconds, readyFailures),
		LivenessProbe:  probe(answers, aliveSeconds, aliveFailures),
		VolumeMounts:   mounts,
	}, corev1.VolumeArray{
		scratch("socket"),
		kube.ConfigVolume(objects.config),
		kube.SecretVolume("admin", objects.users),
		kube.SecretVolume("certificate", objects.certificate),
	})
	if len(s.Instances) > 1 {
		answers := server.Answering(server.AdminFolder, server.SentinelFolder)
		sentinel := pod.Containers.(corev1.ContainerArray)[0].(corev1.ContainerArgs)
		sentinel.Name, sentinel.Command = pulumi.String("sentinel"), shell(server.RedisFolder+"/sentinel.sh")
		sentinel.Ports = corev1.ContainerPortArray{kube.Port("sentinel", network.SentinelPort)}
		sentinel.Resources = kube.Resources(s.Config.Requested(20), 200, 32*quantity.MiB)
		sentinel.StartupProbe, sentinel.ReadinessProbe = probe(answers, 1, 60), probe(answers, readySeconds, readyFailures)
		sentinel.LivenessProbe = probe(answers, aliveSeconds, aliveFailures)
		pod.Containers = append(pod.Containers.(corev1.ContainerArray), sentinel)
		pod.Volumes = append(pod.Volumes.(corev1.VolumeArray), scratch("sentinel"))
		pod.TopologySpreadConstraints = kube.Spread(kube.Labels(s.name))
	}
	return pod
}

// newUsers creates a Job that updates the users of a running server.
func (s redisServer) newUsers(
	ctx *pulumi.Context, host string, objects redisObjects, opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	name := s.name + network.Setup
	secrets := pulumi.StringMap{server.UsersFile: s.acl(), server.PasswordFile: s.users[0].password}
	users, err := kube.NewSecret(ctx, name, s.generated(name), secrets, opts...)
	if err != nil {
		return nil, err
	}
	files, environment := []string{"users.sh"}, map[string]string{
		"HOST":          host,
		"PORT":          fmt.Sprint(network.RedisPort),
		"AUTHORITY":     server.RedisFolder + "/" + server.AuthorityFile,
		"USERS":         server.AdminFolder + "/" + server.UsersFile,
		"PATIENCE":      fmt.Sprint(s.Rollout.Patience()),
		"PASSWORD_FILE": server.AdminFolder + "/" + server.PasswordFile,
	}
	if len(s.Instances) > 1 {
		files = append(files, "rights.sh", "everywhere.sh")
		maps.Copy(environment, s.Environment())
	}
	config, err := kube.NewConfig(ctx, name, s.generated(name), scripts("redis", files, pulumi.StringMap{server.AuthorityFile: s.Authority}), opts...)
	if err != nil {
		return nil, err
	}
	return s.newSetup(ctx, name, name, objects.account, corev1.ContainerArgs{
		Image:        pulumi.String(s.Image),
		Command:      shell(server.RedisFolder + "/" + files[len(files)-1]),
		Env:          kube.Environment(environment),
		VolumeMounts: corev1.VolumeMountArray{kube.Mount("config", server.RedisFolder, true), kube.Mount("admin", server.AdminFolder, true)},
	}, corev1.VolumeArray{kube.ConfigVolume(config), kube.SecretVolume("admin", users)}, opts...)
}

// RedisPasswords are the passwords of a Redis: each is the one in use, then the former one. All clients of an external Redis use the
// administrator's.
type RedisPasswords struct {
	Admin    pulumi.StringOutput
	Monitor  pulumi.StringOutput
	Services map[string]pulumi.StringOutput // by service
}

// users returns the administrator, the exporter and the services, in the order of the catalog.
func (p RedisPasswords) users(services []catalog.Service, access func(catalog.Service) *catalog.Access) []redisUser {
	users := []redisUser{{server.Administrator, p.Admin}, {server.Exporter, p.Monitor}}
	for _, service := range services {
		if granted := access(service); granted != nil {
			users = append(users, redisUser{server.User{Name: service.Name, Access: *granted}, p.Services[service.Name]})
		}
	}
	return users
}

// Redis is the cache or the stream.
type Redis struct {
	pulumi.ResourceState
	endpoint  Endpoint
	passwords RedisPasswords
}

// RedisArgs describes the cache or the stream.
type RedisArgs struct {
	Common
	Image       string
	Certificate secret.Certificate
	Passwords   RedisPasswords
}

// NewCache creates the cache, unless it is external: a Redis that evicts the least recently used entries and doesn't persist.
func NewCache(ctx *pulumi.Context, name string, args RedisArgs, opts ...pulumi.ResourceOption) (*Redis, error) {
	config := args.Config.Redis
	return redisServer{
		RedisArgs: args, name: network.Cache, starts: 60,
		users: args.Passwords.users(args.Services, func(s catalog.Service) *catalog.Access { return s.Cache }),
		Redis: server.Redis{
			Instances: []string{args.host(network.Cache)},
			Settings:  fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy allkeys-lru\nlazyfree-lazy-eviction yes\nappendonly no\n", int(config.Memory)),
		},
		// The entries, a quarter of them for fragmentation, and a constant part.
		memory: config.Memory*5/4 + 32*quantity.MiB,
	}.build(ctx, "platform:data:Cache", name, config.Store, func(template corev1.PodTemplateSpecArgs, parent pulumi.ResourceOption) (pulumi.Resource, error) {
		spec := kube.Deployment(args.Rollout, kube.Labels(network.Cache), template)
		spec.Replicas = pulumi.Int(1)
		// Never two replicas at once: one could return entries that were deleted in the other.
		spec.Strategy = appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")}
		return appsv1.NewDeployment(ctx, network.Cache, &appsv1.DeploymentArgs{
			Metadata: args.named(network.Cache), Spec: spec,
		}, append(args.Rollout.Options(), parent)...)
	}, opts)
}

// NewStream creates the stream, unless it is external: a Redis that evicts nothing, refuses entries beyond its memory, and syncs its
// append-only file each second. Services publish the events of a lost second again.
func NewStream(ctx *pulumi.Context, name string, args RedisArgs, opts ...pulumi.ResourceOption) (*Redis, error) {
	config := args.Config.Stream
	stream := redisServer{
		RedisArgs: args, name: network.Stream,
		users: args.Passwords.users(args.Services, func(s catalog.Service) *catalog.Access { return s.Stream }),
		Redis: server.Redis{
			Instances: StreamInstances(args.Config),
			Settings: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\ndir %s\n",
				int(config.Memory), server.AppendFolder),
		},
		// The entries, half of them for changes during a rewrite by a fork, and a constant part.
		memory: config.Memory*3/2 + 32*quantity.MiB,
		starts: 300, // it reads the complete append-only file
		data:   server.AppendFolder,
	}
	if len(stream.Instances) > 1 {
		stream.Settings += "include " + server.RedisSocket + "/instance.conf\n"
	}
	run := func(template corev1.PodTemplateSpecArgs, parent pulumi.ResourceOption) (pulumi.Resource, error) {
		spec := statefulSet(network.Stream, template, args.Config, config.VolumeSize)
		options := append(args.Rollout.Options(), parent, pulumi.Protect(args.Config.ProtectData), cluster.ClaimTemplatesStay())
		if instances := len(stream.Instances); instances > 1 {
			// They are replaced one after the other. Each has time to copy the primary's data before the next one is replaced.
			spec.Replicas, spec.MinReadySeconds = pulumi.Int(instances), pulumi.Int(10)
			patience := fmt.Sprintf("%ds", instances*args.Rollout.Seconds())
			options = append(options, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: patience, Update: patience}))
			if err := kube.Budget(ctx, network.Stream, args.named(network.Stream), kube.Labels(network.Stream), parent); err != nil {
				return nil, err
			}
		}
		return appsv1.NewStatefulSet(ctx, network.Stream, &appsv1.StatefulSetArgs{Metadata: args.named(network.Stream), Spec: spec}, options...)
	}
	return stream.build(ctx, "platform:data:Stream", name, config.Store, run, opts)
}

// statefulSet keeps the volume when the StatefulSet is deleted.
func statefulSet(name string, template corev1.PodTemplateSpecArgs, config stack.Stack, size quantity.Bytes) appsv1.StatefulSetSpecArgs {
	spec := kube.StatefulSet(pulumi.String(name), kube.Labels(name), template, config.StorageClass, size)
	spec.PersistentVolumeClaimRetentionPolicy = appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
		WhenDeleted: pulumi.String("Retain"), WhenScaled: pulumi.String("Retain"),
	}
	return spec
}

// build creates the store, unless it is external. run creates the workload of its pods.
func (s redisServer) build(
	ctx *pulumi.Context, kind, name string, config stack.Store,
	run func(corev1.PodTemplateSpecArgs, pulumi.ResourceOption) (pulumi.Resource, error), opts []pulumi.ResourceOption,
) (*Redis, error) {
	store := &Redis{endpoint: elsewhere(config), passwords: s.Passwords}
	if err := ctx.RegisterComponentResource(kind, name, store, opts...); err != nil {
		return nil, err
	}
	if config.Address == "" {
		parent := pulumi.Parent(store)
		objects, err := s.newObjects(ctx, parent)
		if err != nil {
			return nil, err
		}
		services, err := s.newServices(ctx, parent)
		if err != nil {
			return nil, err
		}
		running, err := run(template(s.name, s.pod(objects)), pulumi.Composite(parent, pulumi.DependsOn(services)))
		if err != nil {
			return nil, err
		}
		host := s.host(s.name)
		users, err := s.newUsers(ctx, host, objects, parent, pulumi.DependsOn([]pulumi.Resource{running}))
		if err != nil {
			return nil, err
		}
		store.endpoint = Endpoint{Host: host, Port: network.RedisPort, Instances: s.Instances, Authority: s.Authority, Ready: []pulumi.Resource{users}}
	}
	return store, ctx.RegisterResourceOutputs(store, pulumi.Map{})
}

// Endpoint is a service's endpoint of the store. It is zero for a service that doesn't use the store.
func (r *Redis) Endpoint(service catalog.Service) Endpoint {
	password, user := r.passwords.Services[service.Name]
	if !user {
		return Endpoint{}
	}
	return r.as(service.Name, password)
}

// MonitorEndpoint is the endpoint of the exporter.
func (r *Redis) MonitorEndpoint() Endpoint { return r.as(server.Monitor, r.passwords.Monitor) }

// as returns the endpoint with the login of a user, or with the common password of an external Redis.
func (r *Redis) as(user string, passwords pulumi.StringOutput) Endpoint {
	if r.endpoint.Ready == nil { // it is external
		user, passwords = "", r.passwords.Admin
	}
	at := r.endpoint
	at.User, at.Password = pulumi.String(user).ToStringOutput(), inUse(passwords)
	return at
}
