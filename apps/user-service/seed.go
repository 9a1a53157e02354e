package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/text"
	"platform.example/apps/user-service/internal/audit"
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
