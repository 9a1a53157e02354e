-- +goose Up
-- Users of identity providers. A row is deleted with its user, also by the previous release.
CREATE TABLE external_identities (
    issuer     text        NOT NULL,
    subject    text        NOT NULL, -- the provider's ID of the user; unlike an email, it never changes
    user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);

CREATE INDEX external_identities_user ON external_identities (user_id);

-- +goose Down
DROP TABLE external_identities;
