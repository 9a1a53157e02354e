-- +goose Up
CREATE TABLE notifications (
    id         uuid        PRIMARY KEY, -- version 7: ordered by creation, for pagination
    user_id    uuid        NOT NULL,
    type       text        NOT NULL,
    title      text        NOT NULL,
    body       text        NOT NULL,
    order_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at    timestamptz
);

CREATE INDEX notifications_inbox ON notifications (user_id, id DESC);
CREATE INDEX notifications_unread ON notifications (user_id, id DESC) WHERE read_at IS NULL;

-- Handled events. A row is written in the transaction of the event's effect, so that an event
-- that is delivered again has no further effect.
CREATE TABLE handled_events (
    consumer   text        NOT NULL,
    event_id   uuid        NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX handled_events_age ON handled_events (handled_at);

CREATE TABLE webhook_deliveries (
    notification_id uuid        PRIMARY KEY REFERENCES notifications (id) ON DELETE CASCADE,
    attempts        integer     NOT NULL DEFAULT 0,     -- started so far
    next_attempt_at timestamptz NOT NULL DEFAULT now(), -- during an attempt: when it counts as lost
    delivered_at    timestamptz,
    gave_up_at      timestamptz,
    last_error      text,
    CHECK (delivered_at IS NULL OR gave_up_at IS NULL)
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at)
    WHERE delivered_at IS NULL AND gave_up_at IS NULL;

-- +goose Down
DROP TABLE webhook_deliveries;
DROP TABLE handled_events;
DROP TABLE notifications;
