-- +goose Up
-- What has been handled of the events of other services: written in the transaction
-- of its effect, so that an event that is delivered again has none.
CREATE TABLE handled_events (
    consumer   text        NOT NULL,
    event_id   uuid        NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX handled_events_age ON handled_events (handled_at);

-- +goose Down
DROP TABLE handled_events;
