#!/bin/sh
# Gives each service its database and its role; run again, it makes them what they should be now.
# Takes PGHOST, PGPORT, CONFIG (role.sql, databases.sql and roles: one "role database connections" a line),
# PASSWORD_FILE (the superuser's password) and ROLE_PASSWORDS (a folder with one file for each role).
set -eu
bin=/usr/lib/postgresql/15/bin
patience=120

deadline=$(($(date +%s) + patience))
until "$bin/pg_isready" --quiet; do
	if [ "$(date +%s)" -ge "$deadline" ]; then
		echo "Postgres at $PGHOST:$PGPORT has not answered for $patience s: see the log of its pod" >&2
		exit 1
	fi
	sleep 1
done

PGPASSWORD=$(cat "$PASSWORD_FILE")
export PGPASSWORD ROLE_PASSWORDS
psql() {
	"$bin/psql" --no-psqlrc --quiet --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 "$@" </dev/null
}

while read -r role database connections; do
	psql --set=role="$role" --set=database="$database" --set=connections="$connections" --file="$CONFIG/role.sql"
	echo "role $role owns database $database"
done <"$CONFIG/roles"
psql --file="$CONFIG/databases.sql"
