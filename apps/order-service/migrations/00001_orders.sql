-- +goose Up
CREATE TABLE orders (
    id         uuid        PRIMARY KEY, -- version 7: ordered by creation, for pagination
    user_id    uuid        NOT NULL,
    status     text        NOT NULL CHECK (status IN ('pending', 'paid', 'shipped', 'delivered', 'cancelled')),
    currency   text        NOT NULL,    -- ISO 4217
    total      bigint      NOT NULL CHECK (total >= 0), -- minor units
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version    bigint      NOT NULL
);

CREATE INDEX orders_user_id ON orders (user_id, id);

CREATE TABLE order_items (
    order_id   uuid   NOT NULL REFERENCES orders,
    line       int    NOT NULL, -- from 1, in the order of the request
    sku        text   NOT NULL,
    quantity   bigint NOT NULL CHECK (quantity > 0),
    unit_price bigint NOT NULL CHECK (unit_price >= 0), -- minor units
    PRIMARY KEY (order_id, line)
);

-- Responses to requests, which are sent again for a repeated request with the same key.
CREATE TABLE idempotency_keys (
    user_id      uuid        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL, -- SHA-256 of the draft after decoding and encoding
    status       int         NOT NULL, -- of the response
    response     text        NOT NULL, -- the exact body of the response
    order_id     uuid        NOT NULL REFERENCES orders DEFERRABLE INITIALLY DEFERRED, -- the key is inserted first
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

-- The outbox: events are written in the transaction of their change, and then published to a stream.
CREATE TABLE outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid        NOT NULL UNIQUE,
    order_id     uuid        NOT NULL,
    type         text        NOT NULL,
    payload      jsonb       NOT NULL, -- the order right after the event
    traceparent  text        NOT NULL, -- W3C trace context of the request that caused it; may be empty
    occurred_at  timestamptz NOT NULL,
    published_at timestamptz,          -- null: not published yet
    stream_ms    bigint,               -- the two halves of the id of the stream's entry, as numbers:
    stream_seq   bigint,               -- as text, 9-0 would be after 10-0
    CHECK ((published_at IS NULL) = (stream_ms IS NULL) AND (stream_ms IS NULL) = (stream_seq IS NULL))
) WITH (
    -- Each row leaves the partial indexes soon, but its entry in them stays until
    -- the next vacuum, and a query for the first row reads all of those entries.
    -- The default (0.2) would let them grow for more than a day.
    autovacuum_vacuum_scale_factor = 0.01
);

CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_unpublished_of_order ON outbox (order_id, id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (occurred_at) WHERE published_at IS NOT NULL;
CREATE INDEX outbox_stream_position ON outbox (stream_ms, stream_seq) WHERE published_at IS NOT NULL;

-- +goose Down
DROP TABLE outbox;
DROP TABLE idempotency_keys;
DROP TABLE order_items;
DROP TABLE orders;
