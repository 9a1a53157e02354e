package catalog

import (
	"strings"

	"platform.example/infra/namespace"
)

// Kind says how a secret is generated, and how it is rotated.
type Kind string

// The kinds of secrets. All but Plain are lists, so that a rotation never has a moment at which the two sides of a
// connection disagree: what is not the first is still, or already, accepted.
const (
	// Plain is 32 random bytes in base64url; only the platform itself uses it.
	Plain Kind = "plain"
	// Password is one or two such texts with a comma between: the one in use, and the one before it.
	Password Kind = "password"
	// JWTKeys is up to three keys, separated by commas: in use, next, and the one before. A key is its id, a colon, Ed25519Seed and
	// the seed of an Ed25519 key (RFC 8032) in base64url; one from former times has 32 random bytes, for HS256, instead of the last
	// two. The next one is known everywhere before anything is signed with it.
	JWTKeys Kind = "jwtKeys"
	// SigningKeys is the same of seeds alone.
	SigningKeys Kind = "signingKeys"
	// CertificateAuthority is up to three authorities in PEM, each a certificate and its key: in use, next, and the one
	// before. Whoever trusts one trusts all, so that the next one is trusted before anything is signed with it.
	CertificateAuthority Kind = "certificateAuthority"
	// Given comes from somebody else, such as the address of a chat room; nobody here can make it, and it may be missing.
	Given Kind = "given"
)

// Ed25519Seed precedes the seed of a key in JWTKeys.
const Ed25519Seed = "ed25519."

// Secret is a value that a stack's configuration must hold, encrypted.
type Secret struct {
	Name     string // the key in the stack's configuration
	Kind     Kind
	Variable string // the environment variable that hands it to a service; empty where a component uses it
	With     string // the key of the service's setting without which it isn't handed over; empty for always
	URL      bool   // of what is Given: an address that starts with https://
	HTTP     bool   // or with http://
}

// The secrets that belong to no single service.
const (
	Authority             = "certificateAuthority"
	PostgresAdminPassword = "postgresAdminPassword"
	RedisPassword         = "redisPassword"  // of the cache's administrator; of everyone on a Redis elsewhere
	StreamPassword        = "streamPassword" // as RedisPassword, of the stream
	DemoUserPassword      = "demoUserPassword"

	// What the exporters sign in to the stores with.
	PostgresMonitorPassword = "postgresMonitorPassword"
	RedisMonitorPassword    = "redisMonitorPassword"
	StreamMonitorPassword   = "streamMonitorPassword"

	GrafanaPassword = "grafanaAdminPassword"

	// IdentityKeys sign who is asking, from the gateway to the services.
	IdentityKeys = "identityKeys"

	// Who is told of alerts.
	SlackWebhookURL     = "slackWebhookUrl"
	PagerDutyRoutingKey = "pagerDutyRoutingKey"
	AlertWebhookURL     = "alertWebhookUrl"
	DeadMansSwitchURL   = "deadMansSwitchUrl" // is told all the time, and calls somebody when it isn't

	SMTPPassword = "smtpPassword" // of the mail server

	ReleaseWebhookURL = "releaseWebhookUrl" // is told of releases, as Slack is
)

// PostgresHost is the DNS name of Postgres in the cluster, for which its certificate is valid.
func PostgresHost(prefix namespace.Prefix) string { return prefix.Host("postgres", namespace.Data) }

// RedisHost is that of the cache.
func RedisHost(prefix namespace.Prefix) string { return prefix.Host("redis-cache", namespace.Data) }

// StreamHost is that of the streams.
func StreamHost(prefix namespace.Prefix) string { return prefix.Host("redis-stream", namespace.Data) }

// Former lists the keys of a configuration that held certificates. They are ignored: certificates are kept on the cluster.
func Former() []string {
	return []string{"postgresCertificate", "redisCertificate", "streamCertificate", "edgeCertificate"}
}

// Secrets is every secret that the services and their stores need; local adds that of the demo user.
func Secrets(services []Service, local bool) []Secret {
	secrets := []Secret{
		{Name: Authority, Kind: CertificateAuthority},
		{Name: PostgresAdminPassword, Kind: Password},
		{Name: RedisPassword, Kind: Password},
		{Name: StreamPassword, Kind: Password},
		{Name: PostgresMonitorPassword, Kind: Password},
		{Name: RedisMonitorPassword, Kind: Password},
		{Name: StreamMonitorPassword, Kind: Password},
		{Name: GrafanaPassword, Kind: Plain},
	}
	for _, service := range services {
		if service.Database != "" {
			secrets = append(secrets, Secret{Name: service.DatabasePassword(), Kind: Password})
		}
		if service.Cache != nil {
			secrets = append(secrets, Secret{Name: service.CachePassword(), Kind: Password})
		}
		if service.Stream != nil {
			secrets = append(secrets, Secret{Name: service.StreamPassword(), Kind: Password})
		}
		for _, secret := range service.Secrets {
			if secret.Kind != Given {
				secrets = append(secrets, secret)
			}
		}
	}
	if local {
		secrets = append(secrets, Secret{Name: DemoUserPassword, Kind: Plain})
	}
	return secrets
}

// GivenSecrets is every secret that somebody else hands out. A stack sets those that it wants. Addresses may do without TLS
// where the stack says that webhooks are near.
func GivenSecrets(near bool) []Secret {
	return []Secret{
		{Name: SlackWebhookURL, Kind: Given, URL: true, HTTP: near},
		{Name: PagerDutyRoutingKey, Kind: Given},
		{Name: AlertWebhookURL, Kind: Given, URL: true, HTTP: near},
		{Name: DeadMansSwitchURL, Kind: Given, URL: true, HTTP: near},
		{Name: SMTPPassword, Kind: Given},
		{Name: ReleaseWebhookURL, Kind: Given, URL: true, HTTP: near},
	}
}

// DatabasePassword names the secret that holds the password of the service's role, such as userServiceDatabasePassword.
func (s Service) DatabasePassword() string { return s.camelCase() + "DatabasePassword" }

// CachePassword names the secret that holds the service's password at the cache.
func (s Service) CachePassword() string { return s.camelCase() + "CachePassword" }

// StreamPassword names the secret that holds the service's password at the stream.
func (s Service) StreamPassword() string { return s.camelCase() + "StreamPassword" }

func (s Service) camelCase() string {
	var name strings.Builder
	for i, word := range strings.Split(s.Name, "-") {
		if i > 0 && word != "" {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		name.WriteString(word)
	}
	return name.String()
}
