package data

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
	"platform.example/infra/restricted"
)

const (
	redisPort   = 6379
	redisFolder = "/etc/redis"
)

// redisServer is what the pods of both kinds of Redis have in common.
type redisServer struct {
	name      string
	namespace *corev1.Namespace
	image     string
	password  pulumi.StringOutput
	config    string         // of the kind; where it listens and who may ask is added
	memory    quantity.Bytes // of the pod
	starts    int            // seconds that it may take to start
	data      string         // where the volume "data" is mounted; empty for none
}

func (s redisServer) endpoint(ready pulumi.Resource) Endpoint {
	return Endpoint{Host: s.name + "." + namespaceName + ".svc", Port: redisPort, Password: s.password, Ready: ready}
}

// newConfig holds the configuration, which names the password.
func (s redisServer) newConfig(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (*corev1.Secret, error) {
	return corev1.NewSecret(ctx, s.name, &corev1.SecretArgs{
		Metadata: metav1.ObjectMetaArgs{
			Namespace: s.namespace.Metadata.Name(),
			Labels:    labels(s.name),
		},
		Immutable: pulumi.Bool(true),
		StringData: pulumi.StringMap{
			"redis.conf": pulumi.Sprintf("requirepass %s\nbind * -::*\nport %d\nsave \"\"\n%s", s.password, redisPort, s.config),
			"password":   s.password,
		},
	}, opts...)
}

func (s redisServer) pod(config *corev1.Secret) corev1.PodSpecArgs {
	answers := `test "$(redis-cli ping)" = PONG`
	mounts := corev1.VolumeMountArray{mount("config", redisFolder, true)}
	if s.data != "" {
		mounts = append(mounts, mount("data", s.data, false))
	}
	return corev1.PodSpecArgs{
		AutomountServiceAccountToken: pulumi.Bool(false),
		EnableServiceLinks:           pulumi.Bool(false),
		SecurityContext:              restricted.Pod(user),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name:    pulumi.String(s.name),
			Image:   pulumi.String(s.image),
			Command: pulumi.ToStringArray([]string{"redis-server", redisFolder + "/redis.conf"}),
			Env: corev1.EnvVarArray{corev1.EnvVarArgs{ // for redis-cli in the probes
				Name: pulumi.String("REDISCLI_AUTH"),
				ValueFrom: corev1.EnvVarSourceArgs{SecretKeyRef: corev1.SecretKeySelectorArgs{
					Name: config.Metadata.Name(),
					Key:  pulumi.String("password"),
				}},
			}},
			Ports: corev1.ContainerPortArray{corev1.ContainerPortArgs{
				Name: pulumi.String("redis"), ContainerPort: pulumi.Int(redisPort),
			}},
			Resources:       resources(1000, s.memory),
			SecurityContext: restricted.Container(),
			StartupProbe:    probe(answers, 1, s.starts),
			ReadinessProbe:  probe(answers, 5, 2),
			LivenessProbe:   probe(answers, 10, 3),
			VolumeMounts:    mounts,
		}},
		Volumes: corev1.VolumeArray{secretVolume("config", config)},
	}
}
