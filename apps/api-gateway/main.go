// Command api-gateway is the only entry to the platform: it signs users in, verifies their tokens and
// forwards their requests to the services.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/api-gateway/internal/api"
	"platform.example/apps/api-gateway/internal/clientaddr"
	"platform.example/apps/api-gateway/internal/docs"
	"platform.example/apps/api-gateway/internal/limit"
	"platform.example/apps/api-gateway/internal/provider"
	"platform.example/apps/api-gateway/internal/session"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/background"
	"platform.example/apps/internal/breaker"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/renewal"
	"platform.example/apps/internal/retire"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
	"platform.example/apps/internal/verify"
)

const name = "api-gateway"

// The limits of failed sign-ins: enough for typing errors, far too few for guessing. An address has a higher
// limit, because many people may share it.
const (
	failuresPerAccount = 10
	failuresPerAddress = 100
	failureWindow      = 10 * time.Minute
)

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{"": serve, "verify": verify.Command(name, probes), "retire": retire.Command, "renew": renewal.Command}
}

var serve = service.Serve(service.Definition{Name: name, Cache: true, Edge: true, Configure: configure})

func configure(env *config.Env) service.Build {
	keys, oidc, signer := config.Parsed(env, "JWT_KEYS", token.ParseKeys), provider.Read(env), identity.ReadSigner(env)
	usersURL := config.Parsed(env, "USER_SERVICE_URL", config.HTTPURL)
	ordersURL := config.Parsed(env, "ORDER_SERVICE_URL", config.HTTPURL)
	notificationsURL := config.Parsed(env, "NOTIFICATION_SERVICE_URL", config.HTTPURL)
	requestsPerMinute := config.ParsedOr(env, "REQUESTS_PER_MINUTE", 1200, config.Int(1, 1_000_000_000))
	requestsPerSecond := config.ParsedOr(env, "REQUESTS_PER_SECOND", 0, config.Int(1, 1_000_000))
	proxies := clientaddr.Proxies{
		Edge:    config.ParsedOr(env, "EDGE_NETWORKS", nil, clientaddr.ParseNetworks),
		Trusted: config.ParsedOr(env, "TRUSTED_PROXIES", nil, clientaddr.ParseNetworks),
	}
	origins := config.ParsedOr(env, "CORS_ORIGINS", nil, api.ParseOrigins)

	return func(b service.Base) (service.API, error) {
		users := upstream.New("user-service", usersURL, signer, b.Registry)
		orders := upstream.New("order-service", ordersURL, signer, b.Registry)
		notifications := upstream.New("notification-service", notificationsURL, signer, b.Registry)
		gateway := &api.API{
			Tokens:   token.NewAuthority(keys),
			Sessions: session.New(users, b.Log, b.Registry),
			Provider: oidc,
			Proxies:  proxies,
			Users:    users, Orders: orders, Notifications: notifications,
			Requests: limit.New("requests", requestsPerMinute, time.Minute, b.Registry),
			Accounts: limit.New("sign_in_account", failuresPerAccount, failureWindow, b.Registry),
			Exports:  limit.New("exports", 10, time.Hour, b.Registry),
			Sources:  limit.New("sign_in_address", failuresPerAddress, failureWindow, b.Registry),
		}
		result := service.API{
			Routes: func(r chi.Router, errs *problem.Mapper) {
				gateway.Register(r, errs)
				docs.Routes(r)
			},
			Middlewares: func(errs *problem.Mapper) chi.Middlewares {
				middlewares := chi.Middlewares{api.SecurityHeaders, api.CORS(origins)}
				if requestsPerSecond > 0 { // allows bursts of twice the size, as the edge does; each replica counts separately
					addresses := limit.New("addresses", 2*requestsPerSecond, 2*time.Second, b.Registry)
					middlewares = append(middlewares, api.PerAddress(addresses, proxies, errs))
				}
				return middlewares
			},
			Observe: telemetry.RequestMetrics(b.Registry, "gateway", "gateway_service_errors_total", "service", api.ServiceOf),
			Client:  proxies.Of,
			Checks:  []health.Check{{Name: "revocations", Required: true, Probe: gateway.Sessions.Known}},
			// Replicas of both colours run this: only connections follow the live colour.
			Background: []background.Work{
				gateway.Sessions.Watch,
				func(ctx context.Context) {
					breaker.Share(ctx, b.Cache, b.Log, users.Breaker, orders.Breaker, notifications.Breaker)
				},
				func(ctx context.Context) {
					limit.Share(ctx, b.Cache, b.Log, gateway.Requests, gateway.Accounts, gateway.Sources, gateway.Exports)
				},
			},
		}
		for _, s := range []*upstream.Service{users, orders, notifications} {
			result.Checks = append(result.Checks, health.Check{Name: s.Name, Probe: s.Probe})
			result.Background = append(result.Background, s.Watch)
		}
		return result, nil
	}
}

// probeTokenLife is enough for one request and for clocks that differ.
const probeTokenLife = time.Minute

// probes returns requests to each service for a user who doesn't exist. Each call uses another user, so that
// no limit per user is reached.
func probes(env *config.Env) verify.Probes {
	tokens := token.NewAuthority(config.Parsed(env, "JWT_KEYS", token.ParseKeys))
	return func() ([]verify.Probe, error) {
		signed, err := tokens.Issue(token.Holder{
			Caller:    identity.Caller{UserID: uuid.NewString(), Role: identity.User},
			SessionID: uuid.NewString(),
		}, probeTokenLife)
		if err != nil {
			return nil, err
		}
		authorized := http.Header{"Authorization": {"Bearer " + signed}}
		return []verify.Probe{
			// A 404 could be the gateway's own; only user-service sends X-Cache.
			{Path: "/api/users/me", Header: authorized, Want: []int{http.StatusNotFound}, Proof: "X-Cache"},
			{Path: "/api/orders", Header: authorized, Want: []int{http.StatusOK}},
			{Path: "/api/notifications", Header: authorized, Want: []int{http.StatusOK}},
		}, nil
	}
}
