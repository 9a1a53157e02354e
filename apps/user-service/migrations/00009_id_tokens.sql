-- +goose Up
-- The hash of the ID token that started the session: a token is valid once.
ALTER TABLE sessions ADD COLUMN id_token_hash text;
CREATE UNIQUE INDEX sessions_id_token ON sessions (id_token_hash) WHERE id_token_hash IS NOT NULL;

-- +goose Down
ALTER TABLE sessions DROP COLUMN id_token_hash;
