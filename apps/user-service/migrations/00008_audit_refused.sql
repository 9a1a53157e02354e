-- +goose Up
-- By which the refusals of the last hour are found, whose number is bounded. Their newest replace the oldest.
CREATE INDEX audit_refused ON audit (user_id, action, at) WHERE action LIKE '%refused';

-- +goose Down
DROP INDEX audit_refused;
