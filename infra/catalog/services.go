package catalog

import "platform.example/infra/quantity"

// Services is every service of the platform. A new one is a folder under apps/ and a value here.
func Services() []Service {
	return []Service{
		{
			Name:    "api-gateway",
			Public:  true,
			Calls:   []string{"user-service", "order-service", "notification-service"},
			Cache:   true,
			Secrets: []Secret{{Name: "jwtKeys", Kind: JWTKeys, Variable: "JWT_KEYS"}},
			Resources: Resources{
				CPURequest: 100,
				CPULimit:   1000,
				Memory:     128 * quantity.MiB,
			},
		},
		{
			Name:      "user-service",
			Database:  "users",
			Cache:     true,
			SeedsDemo: true,
			Resources: Resources{
				CPURequest: 100,
				CPULimit:   1000,
				Memory:     192 * quantity.MiB, // argon2id hashes take tens of MiB each while they are computed
			},
		},
		{
			Name:     "order-service",
			Database: "orders",
			Stream:   true,
			Resources: Resources{
				CPURequest: 100,
				CPULimit:   1000,
				Memory:     128 * quantity.MiB,
			},
		},
		{
			Name:     "notification-service",
			Database: "notifications",
			Stream:   true,
			Resources: Resources{
				CPURequest: 100,
				CPULimit:   1000,
				Memory:     128 * quantity.MiB,
			},
		},
	}
}
