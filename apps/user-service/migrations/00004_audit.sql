-- +goose Up
-- The audit log: who changed an account, how, and from which address. Rows are added and later deleted, but never changed.
CREATE TABLE audit (
    id         uuid        PRIMARY KEY, -- version 7: ordered by time, for pagination
    at         timestamptz NOT NULL DEFAULT now(),
    actor_id   uuid,                    -- null: a client that has not signed in, or the operator
    action     text        NOT NULL,
    detail     text        NOT NULL,
    user_id    uuid        NOT NULL,    -- the user of the account, who may be deleted
    session_id uuid,                    -- of the session that began or ended
    address    text        NOT NULL,    -- of the client; empty for the operator
    request_id text        NOT NULL
);

CREATE INDEX audit_user ON audit (user_id, id DESC);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_sessions ON audit (at) WHERE action LIKE 'session%';
CREATE INDEX audit_addresses ON audit (at) WHERE address <> '';

-- The address and the client of a session, for the user. They are empty for ended sessions and for sessions from before this migration.
ALTER TABLE sessions ADD COLUMN address text NOT NULL DEFAULT '', ADD COLUMN user_agent text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sessions DROP COLUMN address, DROP COLUMN user_agent;
DROP TABLE audit;
