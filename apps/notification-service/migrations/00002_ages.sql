-- +goose Up
-- By which old rows are found.
CREATE INDEX notifications_age ON notifications (created_at);
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (coalesce(delivered_at, gave_up_at))
    WHERE coalesce(delivered_at, gave_up_at) IS NOT NULL;

-- +goose Down
DROP INDEX webhook_deliveries_settled;
DROP INDEX notifications_age;
