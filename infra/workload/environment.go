package workload

import (
	"fmt"
	"maps"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/data"
	"platform.example/infra/network"
)

// privateNetworks is where the edge's pods are, wherever the cluster is. Nobody else reaches the public service, and the
// edge passes on no word of a client's own on where it comes from.
var privateNetworks = []string{"10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}

// variables is the environment of the service's processes, without secrets.
func (a Args) variables() map[string]string {
	variables := map[string]string{
		"SERVICE_NAME":    a.Service.Name,
		"SERVICE_VERSION": a.Image.Version,
		"SERVICE_COLOUR":  string(a.Colour),
		"ENVIRONMENT":     string(a.Config.Name),
		"SHUTDOWN_DELAY":  shutdownDelay.String(),
		"LIVE_URL":        URL(a.Service.Name), // the colour that answers here is the live one
	}
	for _, called := range a.Service.Calls {
		variables[catalog.Service{Name: called}.URLVariable()] = URL(called)
	}
	if a.Config.Monitoring.Traces != "" {
		variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = network.CollectorURL
	}
	if a.Service.Public {
		variables["TRUSTED_PROXIES"] = strings.Join(privateNetworks, ",")
	}
	if a.Service.Database != "" {
		maps.Copy(variables, map[string]string{
			"POSTGRES_HOST":      a.Postgres.Host,
			"POSTGRES_PORT":      fmt.Sprint(a.Postgres.Port),
			"POSTGRES_DATABASE":  a.Service.Database,
			"POSTGRES_SSLMODE":   "verify-full",
			"POSTGRES_MAX_CONNS": fmt.Sprint(catalog.DatabaseConnections),
		})
	}
	if a.Service.Cache != nil {
		maps.Copy(variables, redisVariables("REDIS_", a.Cache))
	}
	if a.Service.Stream != nil {
		maps.Copy(variables, redisVariables("STREAM_", a.Stream))
	}
	for _, setting := range a.Service.Settings {
		if value, set := a.choice(setting.Key); set {
			variables[setting.Variable] = value
		}
	}
	return variables
}

func redisVariables(prefix string, at data.Endpoint) map[string]string {
	return map[string]string{prefix + "ADDR": fmt.Sprintf("%s:%d", at.Host, at.Port), prefix + "TLS": "true"}
}

// choice is what the stack has set of the service's settings.
func (a Args) choice(key string) (string, bool) {
	value, set := a.Config.Services[a.Service.Name].Settings[key]
	return value, set
}

// authorities is whom the service trusts, in PEM; nothing where the system's roots will do.
func (a Args) authorities() pulumi.StringMap {
	authorities := pulumi.StringMap{}
	if a.Service.Database != "" {
		authorities["POSTGRES_CA_CERTIFICATE"] = a.Postgres.Authority
	}
	if a.Service.Cache != nil {
		authorities["REDIS_CA_CERTIFICATE"] = a.Cache.Authority
	}
	if a.Service.Stream != nil {
		authorities["STREAM_CA_CERTIFICATE"] = a.Stream.Authority
	}
	return authorities
}

// secrets is the rest of the environment.
func (a Args) secrets() pulumi.StringMap {
	secrets := pulumi.StringMap{}
	if a.Service.Database != "" {
		secrets["POSTGRES_USER"], secrets["POSTGRES_PASSWORD"] = a.Postgres.User, a.Postgres.Password
	}
	if a.Service.Cache != nil {
		secrets["REDIS_USERNAME"], secrets["REDIS_PASSWORD"] = a.Cache.User, a.Cache.Password
	}
	if a.Service.Stream != nil {
		secrets["STREAM_USERNAME"], secrets["STREAM_PASSWORD"] = a.Stream.User, a.Stream.Password
	}
	for _, secret := range a.Service.Secrets {
		if _, set := a.choice(secret.With); secret.With != "" && !set {
			continue
		}
		secrets[secret.Variable] = a.Secrets.Value(secret.Name)
	}
	return secrets
}

// newEnvironment keeps both in objects with generated names: changed content is a new object, the pods follow, and
// the other colour keeps what it had.
func (a Args) newEnvironment(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (corev1.EnvFromSourceArray, error) {
	variables := pulumi.ToStringMap(a.variables())
	maps.Copy(variables, a.authorities())
	config, err := corev1.NewConfigMap(ctx, a.name(), &corev1.ConfigMapArgs{
		Metadata:  a.metadata("", a.colourSelector()),
		Immutable: pulumi.Bool(true),
		Data:      variables,
	}, opts...)
	if err != nil {
		return nil, err
	}
	environment := corev1.EnvFromSourceArray{corev1.EnvFromSourceArgs{
		ConfigMapRef: corev1.ConfigMapEnvSourceArgs{Name: config.Metadata.Name()},
	}}
	secrets := a.secrets()
	if len(secrets) == 0 {
		return environment, nil
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
