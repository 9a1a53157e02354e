-- +goose Up
-- Handled events of other services. A row is written in the transaction of the event's effect, so that an
-- event that is delivered again has no further effect.
CREATE TABLE handled_events (
    consumer   text        NOT NULL,
    event_id   uuid        NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX handled_events_age ON handled_events (handled_at);

-- +goose Down
DROP TABLE handled_events;
