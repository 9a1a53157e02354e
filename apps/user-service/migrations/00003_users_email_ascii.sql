-- +goose Up
-- The comparison ignores the case of ASCII letters only. In the locale of the database, other letters fold, too, some into ASCII.
CREATE UNIQUE INDEX users_email_ascii_key ON users (lower(email COLLATE "C"));
-- The previous release looks up users by this index, which must no longer be unique.
CREATE INDEX users_email_lower ON users (lower(email));
DROP INDEX users_email_key;

-- +goose Down
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
DROP INDEX users_email_lower;
DROP INDEX users_email_ascii_key;
