-- +goose Up
-- Indexes that find old rows.
CREATE INDEX notifications_age ON notifications (created_at);
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (coalesce(delivered_at, gave_up_at))
    WHERE coalesce(delivered_at, gave_up_at) IS NOT NULL;

-- Deleted users. They get no further notifications, even for events that arrive late.
CREATE TABLE deleted_users (
    user_id    uuid        PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX deleted_users_age ON deleted_users (deleted_at);

-- +goose Down
DROP TABLE deleted_users;
DROP INDEX webhook_deliveries_settled;
DROP INDEX notifications_age;
