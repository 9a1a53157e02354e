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

// redisServer is what both kinds of Redis have in common.
type redisServer struct {
	Common
	name        string
	image       string
	certificate secret.Certificate
	users       []redisUser
	config      string         // of the kind; where it listens and who may ask is added
	memory      quantity.Bytes // of the pod
	starts      int            // seconds that it may take to start
	data        string         // where the volume "data" is mounted; empty for none
}

// redisUser is who may sign in.
type redisUser struct {
	name     string
	access   catalog.Access
	password pulumi.StringOutput // the one in use first, then the one before
}

// admin is the user who may do everything: probes, set-up, people.
const admin = "admin"

// everything is what the administrator may do.
var everything = catalog.Access{Keys: []string{"*"}, Commands: []string{"@all"}}

// nobodyElse is the first line of an ACL file: who hasn't signed in may do nothing, since nobody can sign in as the default
// user. It is allowed all the same: as this user Redis 7 reads its append-only file back, and leaves out, with an error in its
// log alone, each transaction that the user wouldn't be allowed; every script that writes twice is one.
const nobodyElse = "user default off resetpass allkeys allchannels +@all\n"

// line is the user in Redis' ACL file. It holds hashes: who reads it can't sign in.
func (u redisUser) line(passwords string) string {
	words := []string{"user", u.name, "on"}
	for password := range strings.SplitSeq(passwords, ",") {
		words = append(words, "#"+hash(password))
	}
	return strings.Join(append(words, u.access.Rules()), " ") + "\n"
}

// acl is the file with all of them.
func (s redisServer) acl() pulumi.StringOutput {
	acl := pulumi.String(nobodyElse).ToStringOutput()
	for _, user := range s.users {
		acl = pulumi.Sprintf("%s%s", acl, user.password.ApplyT(user.line))
	}
	return acl
}

// answering is a probe. It reads the password each time: it may have been rotated, and for a while both are accepted.
func answering(passwords, socket string) string {
	return `test "$(REDISCLI_AUTH=$(cut -d, -f1 ` + passwords + "/" + passwordFile + `) ` +
		`redis-cli -s ` + socket + `/redis.sock --user ` + admin + ` ping)" = PONG`
}

// redisObjects is what the server's pod is made of.
type redisObjects struct {
	account            *corev1.ServiceAccount
	config             *corev1.ConfigMap
	users, certificate *corev1.Secret
}

func (s redisServer) newObjects(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (made redisObjects, err error) {
	if made.account, err = kube.NewAccount(ctx, s.name, s.named(s.name), opts...); err != nil {
		return made, err
	}
	if made.certificate, err = kube.NewCertificate(ctx, s.name+"-certificate", s.named(s.name+"-certificate"), s.certificate, opts...); err != nil {
		return made, err
	}
	// Its name stays when a password is rotated, and so the server runs on; the Job changes the users in it.
	made.users, err = corev1.NewSecret(ctx, s.name+"-users", &corev1.SecretArgs{
		Metadata:   s.named(s.name + "-users"),
		StringData: pulumi.StringMap{usersFile: s.acl(), passwordFile: s.users[0].password},
	}, opts...)
	if err != nil {
		return made, err
	}
	content := scripts("redis", []string{"start.sh"}, pulumi.StringMap{"redis.conf": pulumi.String(s.conf())})
	made.config, err = kube.NewConfig(ctx, s.name, s.generated(s.name), content, opts...)
	return made, err
}

func (s redisServer) conf() string {
	lines := []string{
		"bind * -::*", "port 0", fmt.Sprintf("tls-port %d", network.RedisPort),
		"tls-cert-file " + certificateFolder + "/tls.crt", "tls-key-file " + certificateFolder + "/tls.key",
		"tls-auth-clients no", // they give a password
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
		Env: environment(map[string]string{
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

// newUsers is a Job that makes the users of a running server what they should be.
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
		Env: environment(map[string]string{
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

// RedisPasswords is who may sign in to a Redis: the administrator's password and that of each service that uses it,
// each the one in use first, then the one before. Elsewhere than in the cluster the first is everybody's.
type RedisPasswords struct {
	Admin    pulumi.StringOutput
	Monitor  pulumi.StringOutput
	Services map[string]pulumi.StringOutput // by service
}

// statistics is what an exporter asks.
var statistics = catalog.Access{Commands: []string{"ping", "info", "config|get", "slowlog|len", "slowlog|get", "latency|latest", "client|setname"}}

// users is the administrator, the exporter and the services, in the order of the catalog.
func (p RedisPasswords) users(services []catalog.Service, access func(catalog.Service) *catalog.Access) []redisUser {
	users := []redisUser{{admin, everything, p.Admin}, {monitor, statistics, p.Monitor}}
	for _, service := range services {
		if granted := access(service); granted != nil {
			users = append(users, redisUser{service.Name, *granted, p.Services[service.Name]})
		}
	}
	return users
}

// endpoint is how a service reaches the Redis at which it has a user of its own, or else one with everybody's password;
// nothing for a service that uses none.
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
