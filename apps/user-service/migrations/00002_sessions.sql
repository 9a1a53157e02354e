-- +goose Up
-- Without a foreign key: the session of a user who was deleted must be known
-- as revoked for as long as its access tokens are good.
CREATE TABLE sessions (
    id            uuid        PRIMARY KEY, -- version 7
    user_id       uuid        NOT NULL,
    token_hash    bytea       NOT NULL,    -- SHA-256 of the secret of the newest refresh token
    previous_hash bytea,                   -- of the one before it
    salt          bytea,                   -- what the newest was derived with from the one before it
    rotated_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz
);

CREATE INDEX sessions_of_user ON sessions (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- +goose Down
DROP TABLE sessions;
