package catalog

import "strings"

// Kind says how a secret is generated.
type Kind string

// The kinds of secrets.
const (
	Password Kind = "password" // 32 random bytes, base64url
	JWTKeys  Kind = "jwtKeys"  // one key: kid, a colon, 32 random bytes in base64url
)

// Secret is a value that a stack's configuration must hold, encrypted.
type Secret struct {
	Name     string // the key in the stack's configuration
	Kind     Kind
	Variable string // the environment variable that hands it to a service; empty where a component uses it
}

// The secrets that belong to no single service.
const (
	PostgresAdminPassword = "postgresAdminPassword"
	RedisPassword         = "redisPassword"
	StreamPassword        = "streamPassword"
	DemoUserPassword      = "demoUserPassword"
)

// Secrets is every secret that the services and their stores need; demo adds that of the demo user.
func Secrets(services []Service, demo bool) []Secret {
	secrets := []Secret{
		{Name: PostgresAdminPassword, Kind: Password},
		{Name: RedisPassword, Kind: Password},
		{Name: StreamPassword, Kind: Password},
	}
	for _, service := range services {
		if service.Database != "" {
			secrets = append(secrets, Secret{Name: service.DatabasePassword(), Kind: Password})
		}
		secrets = append(secrets, service.Secrets...)
	}
	if demo {
		secrets = append(secrets, Secret{Name: DemoUserPassword, Kind: Password})
	}
	return secrets
}

// DatabasePassword names the secret that holds the password of the service's role, such as userServiceDatabasePassword.
func (s Service) DatabasePassword() string {
	var name strings.Builder
	for i, word := range strings.Split(s.Name, "-") {
		if i > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		name.WriteString(word)
	}
	return name.String() + "DatabasePassword"
}
