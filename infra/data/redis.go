package data

import (
	"fmt"
	"strings"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
)

const (
	redisFolder = "/etc/redis"
	redisSocket = "/run/redis"

	usersFile = "users.acl"
)

// redisServer is the common part of the cache and the stream.
type redisServer struct {
	Common
	name        string
	image       string
	certificate secret.Certificate
	users       []redisUser
	config      string         // without listeners and users
	memory      quantity.Bytes // of the pod
	starts      int            // time limit of a start in seconds
	data        string         // path of the volume "data"; empty for none
}

// redisUser is a user of a Redis.
type redisUser struct {
	name     string
	access   catalog.Access
	password pulumi.StringOutput // the one in use, then the former one
}

// admin is the administrator, used by probes, set-up and people.
const admin = "admin"

// everything is the access of the administrator.
var everything = catalog.Access{Keys: []string{"*"}, Commands: []string{"@all"}}

// nobodyElse is the first line of an ACL file. It disables the default user, so that unauthenticated clients can do nothing. The user
// keeps all permissions, because Redis 7 replays its append-only file as this user: it would skip, with only an error in its log, each
// transaction that the user isn't permitted, such as any script with two writes.
const nobodyElse = "user default off resetpass allkeys allchannels +@all\n"

// line is the user's line in the ACL file. It contains only hashes of the passwords.
func (u redisUser) line(passwords string) string {
	words := []string{"user", u.name, "on"}
	for password := range strings.SplitSeq(passwords, ",") {
		words = append(words, "#"+hash(password))
	}
	return strings.Join(append(words, u.access.Rules()), " ") + "\n"
}

// acl is the ACL file.
func (s redisServer) acl() pulumi.StringOutput {
	acl := pulumi.String(nobodyElse).ToStringOutput()
	for _, user := range s.users {
		acl = pulumi.Sprintf("%s%s", acl, user.password.ApplyT(user.line))
	}
	return acl
}

// answering is a probe. It reads the password each time, since the password may have been rotated.
func answering(passwords, socket string) string {
	return `test "$(REDISCLI_AUTH=$(cut -d, -f1 ` + passwords + "/" + passwordFile + `) ` +
		`redis-cli -s ` + socket + `/redis.sock --user ` + admin + ` ping)" = PONG`
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
	if created.certificate, err = kube.NewCertificate(ctx, s.name+"-certificate", s.named(s.name+"-certificate"), s.certificate, opts...); err != nil {
		return created, err
	}
	// It keeps its name when a password is rotated, so that the server isn't restarted. The Job changes the users in the server.
	created.users, err = corev1.NewSecret(ctx, s.name+"-users", &corev1.SecretArgs{
		Metadata:   s.named(s.name + "-users"),
		StringData: pulumi.StringMap{usersFile: s.acl(), passwordFile: s.users[0].password},
	}, opts...)
	if err != nil {
		return created, err
	}
	content := scripts("redis", []string{"start.sh"}, pulumi.StringMap{"redis.conf": pulumi.String(s.conf())})
	created.config, err = kube.NewConfig(ctx, s.name, s.generated(s.name), content, opts...)
	return created, err
}

func (s redisServer) conf() string {
	lines := []string{
		"bind * -::*", "port 0", fmt.Sprintf("tls-port %d", network.RedisPort),
		"tls-cert-file " + certificateFolder + "/tls.crt", "tls-key-file " + certificateFolder + "/tls.key",
		"tls-auth-clients no", // clients authenticate by password
		"unixsocket " + redisSocket + "/redis.sock", "unixsocketperm 700",
		"aclfile " + adminFolder + "/" + usersFile,
		`save ""`,
	}
	return strings.Join(lines, "\n") + "\n" + s.config
}

func (s redisServer) pod(objects redisObjects) corev1.PodSpecArgs {
	answers := answering(adminFolder, redisSocket)
	mounts := corev1.VolumeMountArray{
		kube.Mount("config", redisFolder, true),
		kube.Mount("socket", redisSocket, false),
		kube.Mount("admin", adminFolder, true),
		kube.Mount("certificate", certificateFolder, true),
	}
	if s.data != "" {
		mounts = append(mounts, kube.Mount("data", s.data, false))
	}
	return s.Common.pod(objects.account, corev1.ContainerArgs{
		Name:    pulumi.String(s.name),
		Image:   pulumi.String(s.image),
		Command: shell(redisFolder + "/start.sh"),
		Env: kube.Environment(map[string]string{
			"CONFIG":        redisFolder,
			"CERTIFICATE":   certificateFolder,
			"PASSWORD_FILE": adminFolder + "/" + passwordFile,
			"SOCKET":        redisSocket + "/redis.sock",
		}),
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
}

// newUsers creates a Job that updates the users of a running server.
func (s redisServer) newUsers(
	ctx *pulumi.Context, host string, objects redisObjects, opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	name := s.name + network.Setup
	secrets := pulumi.StringMap{usersFile: s.acl(), passwordFile: s.users[0].password}
	users, err := kube.NewSecret(ctx, name, s.generated(name), secrets, opts...)
	if err != nil {
		return nil, err
	}
	content := scripts("redis", []string{"users.sh"}, pulumi.StringMap{authorityFile: s.Authority})
	config, err := kube.NewConfig(ctx, name, s.generated(name), content, opts...)
	if err != nil {
		return nil, err
	}
	return s.newSetup(ctx, name, objects.account, corev1.ContainerArgs{
		Image:   pulumi.String(s.image),
		Command: shell(redisFolder + "/users.sh"),
		Env: kube.Environment(map[string]string{
			"HOST":          host,
			"PORT":          fmt.Sprint(network.RedisPort),
			"AUTHORITY":     redisFolder + "/" + authorityFile,
			"USERS":         adminFolder + "/" + usersFile,
			"PATIENCE":      fmt.Sprint(s.Rollout.Patience()),
			"PASSWORD_FILE": adminFolder + "/" + passwordFile,
		}),
		VolumeMounts: corev1.VolumeMountArray{kube.Mount("config", redisFolder, true), kube.Mount("admin", adminFolder, true)},
	}, corev1.VolumeArray{kube.ConfigVolume(config), kube.SecretVolume("admin", users)}, opts...)
}

// RedisPasswords are the passwords of a Redis: each is the one in use, then the former one. All clients of an external Redis use the
// administrator's.
type RedisPasswords struct {
	Admin    pulumi.StringOutput
	Monitor  pulumi.StringOutput
	Services map[string]pulumi.StringOutput // by service
}

// statistics is the access of an exporter.
var statistics = catalog.Access{Commands: []string{"ping", "info", "config|get", "slowlog|len", "slowlog|get", "latency|latest", "client|setname"}}

// users returns the administrator, the exporter and the services, in the order of the catalog.
func (p RedisPasswords) users(services []catalog.Service, access func(catalog.Service) *catalog.Access) []redisUser {
	users := []redisUser{{admin, everything, p.Admin}, {monitor, statistics, p.Monitor}}
	for _, service := range services {
		if granted := access(service); granted != nil {
			users = append(users, redisUser{service.Name, *granted, p.Services[service.Name]})
		}
	}
	return users
}

// endpoint is a service's endpoint with its own user, or with the common password of an external Redis. It is zero for a service that
// doesn't use the Redis.
func (p RedisPasswords) endpoint(at Endpoint, inCluster bool, service catalog.Service) Endpoint {
	password, user := p.Services[service.Name]
	if !user {
		return Endpoint{}
	}
	return p.as(at, inCluster, service.Name, password)
}

func (p RedisPasswords) as(at Endpoint, inCluster bool, user string, passwords pulumi.StringOutput) Endpoint {
	if !inCluster {
		user, passwords = "", p.Admin
	}
	at.User, at.Password = pulumi.String(user).ToStringOutput(), inUse(passwords)
	return at
}
