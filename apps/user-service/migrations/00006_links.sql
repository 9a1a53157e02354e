-- +goose Up
-- The email that the user has shown to be theirs. A release that knows nothing of it changes the email alone.
ALTER TABLE users ADD COLUMN confirmed_email text;

-- Links that are sent by email, until they are used.
CREATE TABLE links (
    secret_hash bytea       PRIMARY KEY, -- SHA-256
    user_id     uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose     text        NOT NULL CHECK (purpose IN ('confirm', 'reset')),
    email       text        NOT NULL,    -- to which it is sent
    expires_at  timestamptz NOT NULL
);

CREATE INDEX links_of_user ON links (user_id);
CREATE INDEX links_expiry ON links (expires_at);

-- Emails of the last hour, by which those to an address are bounded, whoever has them sent.
CREATE TABLE emails_sent (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_hash bytea       NOT NULL, -- SHA-256
    at         timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX emails_sent_hash ON emails_sent (email_hash, at);
CREATE INDEX emails_sent_age ON emails_sent (at);

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

-- Emails are events that only their user may see: they have a stream of their own.
CREATE TABLE mails (LIKE outbox INCLUDING ALL);

-- No deletion goes untold, whichever release deletes.
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
