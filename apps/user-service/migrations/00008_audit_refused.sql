-- +goose Up
-- An index that finds the refusals of the last hour. Their number is limited: a new one replaces the oldest.
CREATE INDEX audit_refused ON audit (user_id, action, at) WHERE action LIKE '%refused';

-- +goose Down
DROP INDEX audit_refused;
