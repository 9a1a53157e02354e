-- +goose Up
-- Only ASCII letters are the same in either case. By the locale of the database others are, too, and some fold into ASCII.
CREATE UNIQUE INDEX users_email_ascii_key ON users (lower(email COLLATE "C"));
-- The previous release looks users up by this one, which must no longer be unique.
CREATE INDEX users_email_lower ON users (lower(email));
DROP INDEX users_email_key;

-- +goose Down
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
DROP INDEX users_email_lower;
DROP INDEX users_email_ascii_key;
