package data

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
	"platform.example/infra/restricted"
	"platform.example/infra/stack"
)

const (
	cacheName   = "redis-cache"
	redisPort   = 6379
	redisFolder = "/etc/redis"
)

// Redis is a cache: it evicts what is used least, and may lose everything at any time.
type Redis struct {
	pulumi.ResourceState
	endpoint Endpoint
}

// RedisArgs describes the cache.
type RedisArgs struct {
	Namespace *corev1.Namespace
	Config    stack.Redis
	Image     string
	Password  pulumi.StringOutput
}

// NewRedis makes the cache.
func NewRedis(ctx *pulumi.Context, name string, args RedisArgs, opts ...pulumi.ResourceOption) (*Redis, error) {
	redis := &Redis{}
	if err := ctx.RegisterComponentResource("platform:data:Redis", name, redis, opts...); err != nil {
		return nil, err
	}
	redis.endpoint = Endpoint{
		Host: cacheName + "." + namespaceName + ".svc", Port: redisPort, Password: args.Password, Ready: redis,
	}
	parent := pulumi.Parent(redis)
	secret, err := corev1.NewSecret(ctx, cacheName, &corev1.SecretArgs{
		Metadata: metav1.ObjectMetaArgs{
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    labels(cacheName),
		},
		Immutable: pulumi.Bool(true),
		StringData: pulumi.StringMap{
			"redis.conf": pulumi.Sprintf("requirepass %s\n%s", args.Password, redisConf(args.Config.Memory)),
			"password":   args.Password,
		},
	}, parent)
	if err != nil {
		return nil, err
	}
	if _, err := newStoreService(ctx, cacheName, args.Namespace, redisPort, parent); err != nil {
		return nil, err
	}
	_, err = appsv1.NewDeployment(ctx, cacheName, &appsv1.DeploymentArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:      pulumi.String(cacheName),
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    labels(cacheName),
		},
		Spec: appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			// Never two at once: one could answer what the other was told to forget.
			Strategy: appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")},
			Selector: metav1.LabelSelectorArgs{MatchLabels: labels(cacheName)},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels(cacheName)},
				Spec:     redisPod(args, secret),
			},
		},
	}, parent, storeTimeouts())
	if err != nil {
		return nil, err
	}
	return redis, ctx.RegisterResourceOutputs(redis, pulumi.Map{
		"host": pulumi.String(redis.endpoint.Host),
		"port": pulumi.Int(redis.endpoint.Port),
	})
}

// Endpoint is how every service reaches the cache.
func (r *Redis) Endpoint() Endpoint { return r.endpoint }

func redisConf(memory quantity.Bytes) string {
	return fmt.Sprintf(`bind * -::*
port %d
maxmemory %dmb
maxmemory-policy allkeys-lru
lazyfree-lazy-eviction yes
save ""
appendonly no
`, redisPort, int(memory))
}

func redisPod(args RedisArgs, secret *corev1.Secret) corev1.PodSpecArgs {
	answers := `test "$(redis-cli ping)" = PONG`
	return corev1.PodSpecArgs{
		AutomountServiceAccountToken: pulumi.Bool(false),
		EnableServiceLinks:           pulumi.Bool(false),
		SecurityContext:              restricted.Pod(user),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name:    pulumi.String(cacheName),
			Image:   pulumi.String(args.Image),
			Command: pulumi.ToStringArray([]string{"redis-server", redisFolder + "/redis.conf"}),
			Env: corev1.EnvVarArray{corev1.EnvVarArgs{ // for redis-cli in the probes
				Name: pulumi.String("REDISCLI_AUTH"),
				ValueFrom: corev1.EnvVarSourceArgs{SecretKeyRef: corev1.SecretKeySelectorArgs{
					Name: secret.Metadata.Name(),
					Key:  pulumi.String("password"),
				}},
			}},
			Ports: corev1.ContainerPortArray{corev1.ContainerPortArgs{
				Name: pulumi.String("redis"), ContainerPort: pulumi.Int(redisPort),
			}},
			// A quarter beyond the entries for fragmentation, and a part that does not grow with them.
			Resources:       resources(1000, args.Config.Memory*5/4+32*quantity.MiB),
			SecurityContext: restricted.Container(),
			StartupProbe:    probe(answers, 1, 60),
			ReadinessProbe:  probe(answers, 5, 2),
			LivenessProbe:   probe(answers, 10, 3),
			VolumeMounts:    corev1.VolumeMountArray{mount("config", redisFolder, true)},
		}},
		Volumes: corev1.VolumeArray{secretVolume("config", secret)},
	}
}
