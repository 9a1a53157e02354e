-- +goose Up
-- Finds the refusals of the last hour, whose number is bounded: the newest replace the oldest.
CREATE INDEX audit_refused ON audit (user_id, action, at) WHERE action LIKE '%refused';

-- +goose Down
DROP INDEX audit_refused;
