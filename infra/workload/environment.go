package workload

import (
	"fmt"
	"maps"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/kube"
	"platform.example/infra/network"
)

// variables is the environment of the service without secrets.
func (c colour) variables() map[string]string {
	variables := map[string]string{
		"SERVICE_NAME":    c.Service.Name,
		"SERVICE_VERSION": c.image().Version,
		"SERVICE_COLOUR":  string(c.Colour),
		"ENVIRONMENT":     string(c.Config.Environment),
		"SHUTDOWN_DELAY":  shutdownDelay.String(),
		"LIVE_URL":        URL(c.Config.NamespacePrefix, c.Service.Name), // resolves to the live colour
	}
	for _, called := range c.Service.Calls {
		variables[catalog.Service{Name: called}.URLVariable()] = URL(c.Config.NamespacePrefix, called)
	}
	if c.Config.Monitoring.Traces != "" {
		variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = network.CollectorURL(c.Config.NamespacePrefix)
	}
	if c.Service.Public {
		if audiences := catalog.Audiences(catalog.Services(), c.Service); audiences != "" {
			variables["IDENTITY_AUDIENCES"] = audiences
		}
		// The networks of the edge's pods. Only they reach the public service.
		variables["EDGE_NETWORKS"] = strings.Join(c.Profile.PodNetworks, ",")
		if proxies := c.Config.Edge.TrustedProxies; len(proxies) > 0 { // the edge then has no rate limit
			variables["TRUSTED_PROXIES"] = strings.Join(proxies, ",")
			variables["REQUESTS_PER_SECOND"] = fmt.Sprint(c.Config.Edge.RequestsPerSecond)
		}
	}
	if c.Service.Database != "" {
		maps.Copy(variables, map[string]string{
			"POSTGRES_HOST":      c.Postgres.Host,
			"POSTGRES_PORT":      fmt.Sprint(c.Postgres.Port),
			"POSTGRES_DATABASE":  c.Service.Database,
			"POSTGRES_SSLMODE":   "verify-full",
			"POSTGRES_MAX_CONNS": fmt.Sprint(catalog.DatabaseConnections),
		})
	}
	if c.Service.Cache != nil {
		maps.Copy(variables, map[string]string{"REDIS_ADDR": c.Cache.Address(), "REDIS_TLS": "true"})
	}
	if c.Service.Stream != nil {
		maps.Copy(variables, map[string]string{"STREAM_ADDR": c.Stream.Address(), "STREAM_TLS": "true"})
	}
	for _, setting := range c.Service.Settings {
		if value, set := c.Config.Services[c.Service.Name].Settings[setting.Key]; set {
			variables[setting.Variable] = value
		}
	}
	return variables
}

// secrets is the secret part of the environment, and the authorities of the stores in PEM, empty for the system's roots.
func (a Args) secrets() pulumi.StringMap {
	secrets := pulumi.StringMap{}
	if a.Service.Database != "" {
		secrets["POSTGRES_USER"], secrets["POSTGRES_PASSWORD"] = a.Postgres.User, a.Postgres.Password
		secrets["POSTGRES_CA_CERTIFICATE"] = a.Postgres.Authority
	}
	if a.Service.Cache != nil {
		secrets["REDIS_USERNAME"], secrets["REDIS_PASSWORD"] = a.Cache.User, a.Cache.Password
		secrets["REDIS_CA_CERTIFICATE"] = a.Cache.Authority
	}
	if a.Service.Stream != nil {
		secrets["STREAM_USERNAME"], secrets["STREAM_PASSWORD"] = a.Stream.User, a.Stream.Password
		secrets["STREAM_CA_CERTIFICATE"] = a.Stream.Authority
	}
	if !a.Service.Public && a.Secrets.Has(catalog.IdentityKeys) {
		secrets["IDENTITY_PUBLIC_KEYS"] = a.Secrets.PublicKeys(catalog.IdentityKeys)
	}
	for _, secret := range a.Service.Secrets {
		_, set := a.Config.Services[a.Service.Name].Settings[secret.With]
		if a.Secrets.Has(secret.Name) && (set || secret.With == "") {
			secrets[secret.Variable] = a.Secrets.Value(secret.Name)
		}
	}
	return secrets
}

// newEnvironment creates a ConfigMap and a Secret with generated names, so that changed content creates new objects and restarts the
// pods. A colour that isn't the plan's target keeps its ConfigMap, but gets rotated secrets and authorities.
func (c colour) newEnvironment(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (corev1.EnvFromSourceArray, error) {
	variables := pulumi.ToStringMap(c.variables())
	config, err := kube.NewConfig(ctx, c.name(), c.metadata("", c.selector()), variables, append(opts, c.keeps("data"))...)
	if err != nil {
		return nil, err
	}
	environment := corev1.EnvFromSourceArray{corev1.EnvFromSourceArgs{
		ConfigMapRef: corev1.ConfigMapEnvSourceArgs{Name: config.Metadata.Name()},
	}}
	secrets := c.secrets()
	if len(secrets) == 0 {
		return environment, nil
	}
	secret, err := kube.NewSecret(ctx, c.name(), c.metadata("", c.selector()), secrets, opts...)
	if err != nil {
		return nil, err
	}
	return append(environment, fromSecret(secret)), nil
}

func fromSecret(secret *corev1.Secret) corev1.EnvFromSourceArgs {
	return corev1.EnvFromSourceArgs{SecretRef: corev1.SecretEnvSourceArgs{Name: secret.Metadata.Name()}}
}
