// Command api-gateway is the only way in: it signs users in, checks their
// tokens and passes their requests on to the services.
package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/api-gateway/internal/api"
	"platform.example/apps/api-gateway/internal/breaker"
	"platform.example/apps/api-gateway/internal/clientaddr"
	"platform.example/apps/api-gateway/internal/docs"
	"platform.example/apps/api-gateway/internal/limit"
	"platform.example/apps/api-gateway/internal/session"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/redis"
	"platform.example/apps/internal/renewal"
	"platform.example/apps/internal/retire"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
	"platform.example/apps/internal/verify"
)

const name = "api-gateway"

// How many sign-ins may fail: enough for who mistypes, far too few to guess. An
// address has more, for many people may share one.
const (
	failuresPerAccount = 10
	failuresPerAddress = 100
	failureWindow      = 10 * time.Minute
)

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{"": serve, "verify": verify.Command(name, probes), "retire": retire.Command, "renew": renewal.Command}
}

func serve(ctx context.Context, p service.Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, name)
	keys := config.Parsed(env, "JWT_KEYS", token.ParseKeys)
	signer := config.Parsed(env, "IDENTITY_KEYS", identity.ParseSigner)
	usersAt := config.Parsed(env, "USER_SERVICE_URL", config.HTTPURL)
	ordersAt := config.Parsed(env, "ORDER_SERVICE_URL", config.HTTPURL)
	notificationsAt := config.Parsed(env, "NOTIFICATION_SERVICE_URL", config.HTTPURL)
	cacheAt := redis.ReadCache(env)
	liveAt := live.ReadURL(env)
	requestsPerMinute := config.ParsedOr(env, "REQUESTS_PER_MINUTE", 1200, config.Int(1, 1_000_000_000))
	requestsPerSecond := config.ParsedOr(env, "REQUESTS_PER_SECOND", 0, config.Int(1, 1_000_000))
	proxies := clientaddr.Proxies{
		Edge:    config.ParsedOr(env, "EDGE_NETWORKS", nil, clientaddr.ParseNetworks),
		Trusted: config.ParsedOr(env, "TRUSTED_PROXIES", nil, clientaddr.ParseNetworks),
	}
	origins := config.ParsedOr(env, "CORS_ORIGINS", nil, api.ParseOrigins)
	if err := env.Err(); err != nil {
		return err
	}

	tel, err := telemetry.Start(ctx, self, p.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tel.Stop()) }()

	tel.Edge = true
	redisClient := redis.Open(cacheAt, tel.Log, tel.Registry)
	defer func() { err = errors.Join(err, redisClient.Close()) }()

	upstreams := upstream.NewMetrics(tel.Registry)
	users := upstream.New("user-service", usersAt, signer, upstreams)
	orders := upstream.New("order-service", ordersAt, signer, upstreams)
	notifications := upstream.New("notification-service", notificationsAt, signer, upstreams)
	gateway := &api.API{
		Tokens:   token.NewAuthority(keys),
		Sessions: session.New(users, tel.Log, tel.Registry),
		Proxies:  proxies,
		Users:    users, Orders: orders, Notifications: notifications,
		Requests: limit.New("requests", requestsPerMinute, time.Minute),
		Accounts: limit.New("sign_in_account", failuresPerAccount, failureWindow),
		Sources:  limit.New("sign_in_address", failuresPerAddress, failureWindow),
	}

	state := health.New(self, tel.Log,
		health.Check{Name: users.Name(), Probe: users.Probe},
		health.Check{Name: orders.Name(), Probe: orders.Probe},
		health.Check{Name: notifications.Name(), Probe: notifications.Probe},
		health.Check{Name: "redis", Probe: func(ctx context.Context) error { return redisClient.Ping(ctx).Err() }},
	)
	errs := problem.NewMapper(tel.Log)
	middlewares := chi.Middlewares{api.SecurityHeaders, api.CORS(origins)}
	if requestsPerSecond > 0 { // bursts may be twice as large, as at the edge; each replica counts for itself
		addresses := limit.New("addresses", 2*requestsPerSecond, 2*time.Second)
		middlewares = append(middlewares, api.PerAddress(addresses, proxies, errs))
	}
	router := httpserver.NewAPI(tel, state, errs, api.NewMetrics(tel.Registry).Observe, middlewares...)
	gateway.Register(router, errs)
	if err := docs.Register(router); err != nil {
		return err
	}

	// What it does beside requests, each gateway does for its own: only connections follow the switch.
	colour := live.NewSwitch(liveAt, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state))
	if err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the last request is answered
	var working sync.WaitGroup
	working.Go(func() { colour.Watch(background) })
	working.Go(func() { gateway.Sessions.Watch(background) })
	for _, service := range []*upstream.Service{users, orders, notifications} {
		working.Go(func() { service.Watch(background) })
	}
	working.Go(func() {
		breaker.Share(background, redisClient, tel.Log, users.Breaker(), orders.Breaker(), notifications.Breaker())
	})
	working.Go(func() {
		limit.Share(background, redisClient, tel.Log, gateway.Requests, gateway.Accounts, gateway.Sources)
	})
	defer working.Wait()
	defer stop()
	return server.Run(ctx)
}
