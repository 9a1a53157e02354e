-- +goose Up
CREATE TABLE users (
    id            uuid        PRIMARY KEY, -- version 7: ordered by creation, for pagination
    email         text        NOT NULL,
    name          text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('user', 'admin')),
    password_hash text        NOT NULL,    -- argon2id, PHC string format
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    version       bigint      NOT NULL DEFAULT 1
);

-- citext would be an extension, which the service's role may not create.
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

-- +goose Down
DROP TABLE users;
