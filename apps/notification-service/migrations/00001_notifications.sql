-- +goose Up
CREATE TABLE notifications (
    id         uuid        PRIMARY KEY, -- version 7: ordered by creation, which is what lists page by
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

-- What has been handled: written in the transaction of its effect, so that an
-- event that is delivered again has none.
CREATE TABLE handled_events (
    consumer   text        NOT NULL,
    event_id   uuid        NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX handled_events_age ON handled_events (handled_at);

CREATE TABLE webhook_deliveries (
    notification_id uuid        PRIMARY KEY REFERENCES notifications (id) ON DELETE CASCADE,
    attempts        integer     NOT NULL DEFAULT 0,     -- begun so far
    next_attempt_at timestamptz NOT NULL DEFAULT now(), -- while one is in hand: when it is taken for lost
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
