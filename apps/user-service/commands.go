package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/redis"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/text"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/cache"
	"platform.example/apps/user-service/internal/password"
	"platform.example/apps/user-service/internal/store"
	"platform.example/apps/user-service/internal/user"
)

// seedDemo creates the demo user, or sets the password of the existing one. It changes nothing if the
// password is right.
var seedDemo = service.OnPostgres(name, func(env *config.Env) service.Work {
	email, _ := text.CanonicalEmail(config.Parsed(env, "DEMO_USER_EMAIL", config.String))
	secret := config.Parsed(env, "DEMO_USER_PASSWORD", config.SecretText)
	return func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
		draft := user.Draft{Email: user.Email(email), Name: "Demo User", Role: identity.User, Password: secret.Reveal()}
		if err := draft.Validate(); err != nil {
			return fmt.Errorf("DEMO_USER_EMAIL or DEMO_USER_PASSWORD: %w", err)
		}
		users, passwords := store.New(pool), password.NewHasher()
		known, err := users.Credentials(ctx, email)
		if err != nil {
			return err
		}
		if right, err := passwords.Verify(ctx, draft.Password, known.PasswordHash); err != nil || right {
			return err
		}
		hash, err := passwords.Hash(ctx, draft.Password)
		if err != nil {
			return err
		}
		if known.ID == uuid.Nil {
			_, err = users.Create(ctx, draft, hash, audit.Entry{Action: audit.UserCreated, Detail: "demo user"})
		} else {
			_, err = users.Update(ctx, known.ID, user.Change{}, hash, audit.Entry{Action: audit.UserChanged, Detail: "password of the demo user"})
		}
		if err != nil {
			return err
		}
		log.Info("demo user is ready")
		return nil
	}
})

// admin gives the user with the email ADMIN_EMAIL the role admin, and ends the user's sessions. The audit log
// names the operator.
var admin = service.OnPostgres(name, func(env *config.Env) service.Work {
	email, _ := text.CanonicalEmail(config.Parsed(env, "ADMIN_EMAIL", config.String))
	redisConfig := redis.ReadCache(env)
	return func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
		users, role := store.New(pool), identity.Admin
		known, err := users.Credentials(ctx, email)
		if err != nil {
			return err
		}
		if known.ID == uuid.Nil {
			return errors.New("no user has this email: sign up first with POST /api/users")
		}
		before, err := users.Get(ctx, known.ID)
		if err != nil {
			return err
		}
		log = log.With("user_id", known.ID, "email_confirmed", before.EmailConfirmed)
		if before.Role == role {
			log.Info("the user is an admin already")
			return nil
		}
		entry := audit.Entry{Action: audit.UserChanged, Detail: "role admin, by the operator"}
		changed, err := users.Update(ctx, known.ID, user.Change{Role: &role}, "", entry)
		if err != nil {
			return err
		}
		registry := prometheus.NewRegistry() // not served
		client := redis.Open(redisConfig, log, registry)
		defer func() { _ = client.Close() }()
		cache.New(client, users.Get, log, registry).Invalidate(ctx, known.ID, changed.Version)
		log.Info("the user is an admin and has to sign in again")
		return nil
	}
})
