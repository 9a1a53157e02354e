-- +goose Up
-- Users whose deletion was handled, for longer than a request of theirs can be in flight: they create no order.
CREATE TABLE deleted_users (
    user_id    uuid        PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX deleted_users_age ON deleted_users (deleted_at);

-- +goose Down
DROP TABLE deleted_users;
