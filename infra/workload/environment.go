package workload

import (
	"fmt"
	"maps"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
)

// variables is the environment of the service's processes, without secrets.
func (a Args) variables() map[string]string {
	variables := map[string]string{
		"SERVICE_NAME":    a.Service.Name,
		"SERVICE_VERSION": a.Image.Version,
		"SERVICE_COLOUR":  string(a.Colour),
		"ENVIRONMENT":     string(a.Config.Name),
		"SHUTDOWN_DELAY":  shutdownDelay.String(),
		"LIVE_URL":        url(a.Service.Name), // the colour that answers here is the live one
	}
	for _, called := range a.Service.Calls {
		variables[catalog.Service{Name: called}.URLVariable()] = url(called)
	}
	if a.Service.Database != "" {
		maps.Copy(variables, map[string]string{
			"POSTGRES_HOST":      a.Postgres.Host,
			"POSTGRES_PORT":      fmt.Sprint(a.Postgres.Port),
			"POSTGRES_DATABASE":  a.Service.Database,
			"POSTGRES_USER":      a.Service.Role(),
			"POSTGRES_SSLMODE":   "disable", // the server in the cluster speaks no TLS
			"POSTGRES_MAX_CONNS": fmt.Sprint(catalog.DatabaseConnections),
		})
	}
	if a.Service.Cache {
		variables["REDIS_ADDR"] = fmt.Sprintf("%s:%d", a.Cache.Host, a.Cache.Port)
	}
	if a.Service.Stream {
		variables["STREAM_ADDR"] = fmt.Sprintf("%s:%d", a.Stream.Host, a.Stream.Port)
	}
	return variables
}

// secrets is the rest of the environment.
func (a Args) secrets() (pulumi.StringMap, error) {
	secrets := pulumi.StringMap{}
	if a.Service.Database != "" {
		secrets["POSTGRES_PASSWORD"] = a.Postgres.Password
	}
	if a.Service.Cache {
		secrets["REDIS_PASSWORD"] = a.Cache.Password
	}
	if a.Service.Stream {
		secrets["STREAM_PASSWORD"] = a.Stream.Password
	}
	for _, secret := range a.Service.Secrets {
		value, ok := a.Secrets[secret.Name]
		if !ok {
			return nil, fmt.Errorf("secret %s is not given", secret.Name)
		}
		secrets[secret.Variable] = value
	}
	return secrets, nil
}

// newEnvironment keeps both in objects with generated names: changed content is a new object, the pods follow, and
// the other colour keeps what it had.
func (a Args) newEnvironment(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (corev1.EnvFromSourceArray, error) {
	config, err := corev1.NewConfigMap(ctx, a.name(), &corev1.ConfigMapArgs{
		Metadata:  a.metadata("", a.colourSelector()),
		Immutable: pulumi.Bool(true),
		Data:      pulumi.ToStringMap(a.variables()),
	}, opts...)
	if err != nil {
		return nil, err
	}
	environment := corev1.EnvFromSourceArray{corev1.EnvFromSourceArgs{
		ConfigMapRef: corev1.ConfigMapEnvSourceArgs{Name: config.Metadata.Name()},
	}}
	secrets, err := a.secrets()
	if err != nil || len(secrets) == 0 {
		return environment, err
	}
	secret, err := a.newSecret(ctx, a.name(), secrets, opts...)
	if err != nil {
		return nil, err
	}
	return append(environment, fromSecret(secret)), nil
}

func (a Args) newSecret(
	ctx *pulumi.Context, name string, values pulumi.StringMap, opts ...pulumi.ResourceOption,
) (*corev1.Secret, error) {
	return corev1.NewSecret(ctx, name, &corev1.SecretArgs{
		Metadata:   a.metadata("", a.colourSelector()),
		Immutable:  pulumi.Bool(true),
		StringData: values,
	}, opts...)
}

func fromSecret(secret *corev1.Secret) corev1.EnvFromSourceArgs {
	return corev1.EnvFromSourceArgs{SecretRef: corev1.SecretEnvSourceArgs{Name: secret.Metadata.Name()}}
}
