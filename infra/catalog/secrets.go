package catalog

import "strings"

// Kind determines how a secret is generated and rotated.
type Kind string

// The kinds of secrets. All except for Plain and Given are lists. The first value is used, and the others are accepted too, so that the
// two sides of a connection always agree during a rotation.
const (
	// Plain is 32 random bytes in base64url, used only by the platform itself.
	Plain Kind = "plain"
	// Password is one or two values like Plain, separated by a comma: the one in use and the former one.
	Password Kind = "password"
	// JWTKeys is up to three keys, separated by commas: the one in use, the next one and the former one. A key is its id, a colon,
	// Ed25519Seed and the seed of an Ed25519 key (RFC 8032) in base64url. An old key has 32 random bytes for HS256 instead of the last
	// two. The next key is accepted everywhere before it is used.
	JWTKeys Kind = "jwtKeys"
	// SigningKeys is the same with only seeds.
	SigningKeys Kind = "signingKeys"
	// CertificateAuthority is up to three authorities in PEM, each a certificate and its key: the one in use, the next one and the
	// former one. Clients trust all of them, so the next one is trusted before it is used.
	CertificateAuthority Kind = "certificateAuthority"
	// Given comes from another service, such as the URL of a chat room. It can't be generated and is optional.
	Given Kind = "given"
)

// Ed25519Seed is the prefix of a seed in JWTKeys.
const Ed25519Seed = "ed25519."

// Secret is an encrypted value in a stack's configuration.
type Secret struct {
	Name     string // the key in the stack's configuration
	Kind     Kind
	Variable string // the service's environment variable; empty if a component uses it
	With     string // key of a setting of the service: the secret is passed only if that is set; empty for always
	URL      bool   // of kind Given: a URL with https://
	HTTP     bool   // or http://
	Pair     bool   // of kind Given: an ID and a key, with a colon between them
}

// The secrets that don't belong to a single service.
const (
	Authority             = "certificateAuthority"
	PostgresAdminPassword = "postgresAdminPassword"
	RedisPassword         = "redisPassword"  // of the cache's administrator, or of all users of an external Redis
	StreamPassword        = "streamPassword" // like RedisPassword, of the stream
	DemoUserPassword      = "demoUserPassword"

	// The passwords of the exporters.
	PostgresMonitorPassword = "postgresMonitorPassword"
	RedisMonitorPassword    = "redisMonitorPassword"
	StreamMonitorPassword   = "streamMonitorPassword"

	GrafanaPassword = "grafanaAdminPassword"

	// IdentityKeys sign the caller's identity in requests of the gateway to the services.
	IdentityKeys = "identityKeys"

	// The receivers of alerts.
	SlackWebhookURL     = "slackWebhookUrl"
	PagerDutyRoutingKey = "pagerDutyRoutingKey"
	AlertWebhookURL     = "alertWebhookUrl"
	DeadMansSwitchURL   = "deadMansSwitchUrl" // receives the watchdog, and raises an alarm without it

	SMTPPassword = "smtpPassword" // of the mail server

	// BackupCredentials are <access key ID>:<secret access key> of the bucket. ObjectStoreKey is the secret access key of the object store of
	// a local stack.
	BackupCredentials = "backupCredentials"
	ObjectStoreKey    = "objectStoreKey"

	ReleaseWebhookURL = "releaseWebhookUrl" // receives notifications of releases, like Slack
)

// Former returns the keys that earlier versions used for certificates. They are ignored, since certificates are kept on the cluster.
func Former() []string {
	return []string{"postgresCertificate", "redisCertificate", "streamCertificate", "edgeCertificate"}
}

// Secrets is every secret that the services and their stores need; local adds those of the demo user and of the object store.
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
		secrets = append(secrets, Secret{Name: DemoUserPassword, Kind: Plain}, Secret{Name: ObjectStoreKey, Kind: Plain})
	}
	return secrets
}

// GivenSecrets returns the optional secrets of kind Given. If near is set, the stack has a webhookNetwork, and URLs may use plain HTTP.
func GivenSecrets(near bool) []Secret {
	return []Secret{
		{Name: SlackWebhookURL, Kind: Given, URL: true, HTTP: near},
		{Name: PagerDutyRoutingKey, Kind: Given},
		{Name: AlertWebhookURL, Kind: Given, URL: true, HTTP: near},
		{Name: DeadMansSwitchURL, Kind: Given, URL: true, HTTP: near},
		{Name: SMTPPassword, Kind: Given},
		{Name: BackupCredentials, Kind: Given, Pair: true},
		{Name: ReleaseWebhookURL, Kind: Given, URL: true, HTTP: near},
	}
}

// DatabasePassword is the name of the secret with the password of the service's role, such as userServiceDatabasePassword.
func (s Service) DatabasePassword() string { return s.camelCase() + "DatabasePassword" }

// CachePassword is the name of the secret with the service's password of the cache.
func (s Service) CachePassword() string { return s.camelCase() + "CachePassword" }

// StreamPassword is the name of the secret with the service's password of the stream.
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
