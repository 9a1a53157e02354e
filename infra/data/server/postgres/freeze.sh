#!/bin/sh
# Makes a server refuse writes, and ends the sessions that may be writing. The sessions that follow can read.
# Takes PGHOST, PASSWORD_FILE (the superuser's password) and PATIENCE (seconds).
set -eu
PATH=/usr/lib/postgresql/15/bin:$PATH
PGPASSWORD=$(cat "$PASSWORD_FILE") PGUSER=postgres PGDATABASE=postgres
export PGPASSWORD PGUSER PGDATABASE
deadline=$(($(date +%s) + PATIENCE))
until psql --no-psqlrc --quiet --command='SELECT 1' >/dev/null; do # the network policies of a new pod take a moment
	[ "$(date +%s)" -lt "$deadline" ] || exit 1
	sleep 1
done
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<'SQL'
ALTER SYSTEM SET default_transaction_read_only = on;
SELECT pg_reload_conf();
SELECT pg_sleep(1);
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
SQL
