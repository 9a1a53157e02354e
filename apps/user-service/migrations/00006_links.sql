-- +goose Up
-- The email that the user has confirmed. A release without this column changes only the email.
ALTER TABLE users ADD COLUMN confirmed_email text;

-- Links in emails, until they are used.
CREATE TABLE links (
    secret_hash bytea       PRIMARY KEY, -- SHA-256
    user_id     uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose     text        NOT NULL CHECK (purpose IN ('confirm', 'reset')),
    email       text        NOT NULL,    -- the recipient
    expires_at  timestamptz NOT NULL
);

CREATE INDEX links_of_user ON links (user_id);
CREATE INDEX links_expiry ON links (expires_at);

-- Emails of the last hour. They limit the emails to an address, regardless of who requests them.
CREATE TABLE emails_sent (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_hash bytea       NOT NULL, -- SHA-256
    at         timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX emails_sent_hash ON emails_sent (email_hash, at);
CREATE INDEX emails_sent_age ON emails_sent (at);

-- The outbox: events are written in the transaction of their change, and then published to a stream.
CREATE TABLE outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid        NOT NULL UNIQUE,
    user_id      uuid        NOT NULL,
    type         text        NOT NULL,
    payload      jsonb       NOT NULL, -- the content of the event; its secret is removed once it is published
    traceparent  text        NOT NULL, -- W3C trace context of the request that caused it; may be empty
    occurred_at  timestamptz NOT NULL,
    published_at timestamptz,          -- null: not published yet
    stream_ms    bigint,               -- the two halves of the id of the stream's entry, as numbers
    stream_seq   bigint,
    CHECK ((published_at IS NULL) = (stream_ms IS NULL) AND (stream_ms IS NULL) = (stream_seq IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.01); -- rows leave the partial indexes soon

CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_unpublished_of_user ON outbox (user_id, id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (occurred_at) WHERE published_at IS NOT NULL;
CREATE INDEX outbox_stream_position ON outbox (stream_ms, stream_seq) WHERE published_at IS NOT NULL;

-- Emails contain secrets of their users, so they have a separate stream.
CREATE TABLE mails (LIKE outbox INCLUDING ALL);

-- A trigger publishes every deletion, also those by the previous release.
-- +goose StatementBegin
CREATE FUNCTION tell_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (event_id, user_id, type, payload, traceparent, occurred_at)
    VALUES (gen_random_uuid(), OLD.id, 'user.deleted', jsonb_build_object('id', OLD.id), '', now());
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER users_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION tell_deletion();

-- +goose Down
DROP TRIGGER users_deleted ON users;
DROP FUNCTION tell_deletion();
DROP TABLE mails;
DROP TABLE outbox;
DROP TABLE emails_sent;
DROP TABLE links;
ALTER TABLE users DROP COLUMN confirmed_email;
