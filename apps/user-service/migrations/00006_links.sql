-- +goose Up
ALTER TABLE users ADD COLUMN email_confirmed boolean NOT NULL DEFAULT false;

-- Links that are sent by email. Used ones have expired; they stay for a day, as links are counted.
CREATE TABLE links (
    secret_hash bytea       PRIMARY KEY, -- SHA-256
    user_id     uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose     text        NOT NULL CHECK (purpose IN ('confirm', 'reset')),
    email       text        NOT NULL,    -- to which it is sent
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);

CREATE INDEX links_of_user ON links (user_id, purpose, created_at);
CREATE INDEX links_age ON links (created_at);

-- Events, written with the changes that they are about and then published to a stream.
CREATE TABLE outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid        NOT NULL UNIQUE,
    user_id      uuid        NOT NULL,
    type         text        NOT NULL,
    payload      jsonb       NOT NULL, -- what the event is about; without a secret once it is published
    traceparent  text        NOT NULL, -- W3C trace context of the request that caused it; may be empty
    occurred_at  timestamptz NOT NULL,
    published_at timestamptz,          -- null: still to be published
    stream_ms    bigint,               -- the two halves of the id of the stream's entry, as numbers
    stream_seq   bigint,
    CHECK ((published_at IS NULL) = (stream_ms IS NULL) AND (stream_ms IS NULL) = (stream_seq IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.01); -- rows leave the partial indexes soon

CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_unpublished_of_user ON outbox (user_id, id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (occurred_at) WHERE published_at IS NOT NULL;
CREATE INDEX outbox_stream_position ON outbox (stream_ms, stream_seq) WHERE published_at IS NOT NULL;

-- +goose Down
DROP TABLE outbox;
DROP TABLE links;
ALTER TABLE users DROP COLUMN email_confirmed;
