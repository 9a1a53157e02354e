-- +goose Up
-- There is no foreign key to users: the session of a deleted user must stay listed as revoked
-- while its access tokens are valid.
CREATE TABLE sessions (
    id            uuid        PRIMARY KEY, -- version 7
    user_id       uuid        NOT NULL,
    token_hash    bytea       NOT NULL,    -- SHA-256 of the secret of the newest refresh token
    previous_hash bytea,                   -- of the previous refresh token
    salt          bytea,                   -- with which the newest secret was derived from the previous one
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
