package catalog

import (
	"time"

	"platform.example/infra/quantity"
)

// Services returns all services of the platform. A new service needs a folder in apps/ and a value here.
func Services() []Service {
	return []Service{
		{
			Name:   "api-gateway",
			Public: true,
			Calls:  []string{"user-service", "order-service", "notification-service"},
			Cache: &Access{ // shared by its replicas for rate limits and breakers
				Keys:     []string{"circuit_breaker:*", "rate_limit:*"},
				Commands: []string{"get", "set", "del", "incrby", "pexpire", "ping"},
			},
			Settings: []Setting{
				{Key: "requestsPerMinute", Variable: "REQUESTS_PER_MINUTE",
					Want: "how many requests a client may send in a minute, from 1 to 1000000000", Read: between(1, 1_000_000_000)},
				{Key: CORSOrigins, Variable: "CORS_ORIGINS",
					Want: "comma-separated origins such as https://app.example.com", Read: origins},
				{Key: "oidcIssuer", Variable: "OIDC_ISSUER", Reaches: true, Needs: "oidcClientId",
					Want: "the https:// URL of an OpenID Connect issuer", Read: SecureURL},
				{Key: "oidcClientId", Variable: "OIDC_CLIENT_ID", Needs: "oidcIssuer",
					Want: "the client id of the apps at the OpenID Connect provider", Read: func(id string) (string, error) { return id, nil }},
			},
			Secrets: []Secret{
				{Name: "jwtKeys", Kind: JWTKeys, Variable: "JWT_KEYS"},
				{Name: IdentityKeys, Kind: SigningKeys, Variable: "IDENTITY_KEYS"},
			},
			Resources:  Resources{CPURequest: 100, CPULimit: 1000, Memory: 128 * quantity.MiB},
			Objectives: Objectives{Availability: 0.999, Latency: 500 * time.Millisecond, LatencyShare: 0.99, Breach: Page},
		},
		{
			Name:     "user-service",
			Internal: []string{"/sessions/revoked"},
			Database: "users",
			Cache: &Access{
				Keys:     []string{"user:*"},
				Commands: []string{"get", "set", "eval", "evalsha", "ping"},
			},
			Stream:     publishes("users:events", "users:mail"),
			KeepsUsers: true,
			// Each argon2id hash needs tens of MiB while it is computed.
			Resources:  Resources{CPURequest: 100, CPULimit: 1000, Memory: 192 * quantity.MiB},
			Objectives: Objectives{Availability: 0.999, Latency: 250 * time.Millisecond, LatencyShare: 0.99, Breach: Page},
		},
		{
			Name:       "order-service",
			Database:   "orders",
			Stream:     publishes("orders:events").and(consumes("users:events")),
			Resources:  Resources{CPURequest: 100, CPULimit: 1000, Memory: 128 * quantity.MiB},
			Objectives: Objectives{Availability: 0.999, Latency: 250 * time.Millisecond, LatencyShare: 0.99, Breach: Page},
		},
		{
			Name:     "notification-service",
			Database: "notifications",
			Stream:   consumes("orders:events", "users:events", "users:mail").and(redrives("orders:events", "users:events")),
			Redrives: true,
			Settings: []Setting{
				{Key: "webhookUrl", Variable: "WEBHOOK_URL", Reaches: true,
					Want: "the https:// URL that receives every notification", Read: SecureURL},
				{Key: "smtpServer", Variable: "SMTP_SERVER", Reaches: true, Needs: "mailFrom",
					Want: "the mail server, such as smtp://user@smtp.example.com:587 (STARTTLS) or smtps://user@smtp.example.com:465", Read: mailServer},
				{Key: "mailFrom", Variable: "MAIL_FROM", Want: "the email address of the sender", Read: emailAddress},
				{Key: "accountPage", Variable: "ACCOUNT_PAGE",
					Want: "the https:// URL of the page that links in emails open with #confirm=<token> or #reset=<token>; without it, emails contain codes", Read: plainURL},
			},
			Secrets: []Secret{
				{Name: "webhookSecret", Kind: Password, Variable: "WEBHOOK_SECRET", With: "webhookUrl"},
				{Name: SMTPPassword, Kind: Given, Variable: "SMTP_PASSWORD", With: "smtpServer"},
			},
			Resources:  Resources{CPURequest: 100, CPULimit: 1000, Memory: 128 * quantity.MiB},
			Objectives: Objectives{Availability: 0.995, Latency: 500 * time.Millisecond, LatencyShare: 0.99, Breach: Ticket},
		},
	}
}
