#!/bin/sh
# Creates or updates the database and the roles of each service.
# Environment: PGHOST, PGPORT, PGUSER, CONFIG (a folder with the SQL scripts and the file roles, whose lines are "role database
# connections"), PASSWORD_FILE (the administrator's passwords), PATIENCE (seconds) and ROLE_PASSWORDS (a folder with a file for each
# role). A file contains the current password and, after a comma, the former one. No password is passed as an argument.
set -eu
bin=/usr/lib/postgresql/15/bin
export PGDATABASE=postgres PGPASSWORD LOGIN_PASSWORD

psql() {
	"$bin/psql" --no-psqlrc --quiet --tuples-only --set=ON_ERROR_STOP=1 "$@" </dev/null
}

# sign_in finds the password that the server accepts: the current or the former one.
sign_in() {
	for PGPASSWORD in $(tr ',' ' ' <"$PASSWORD_FILE"); do
		if said=$(psql --command='SELECT 1' 2>&1); then
			return 0
		fi
	done
	return 1
}

deadline=$(($(date +%s) + PATIENCE))
until sign_in; do
	if [ "$(date +%s)" -ge "$deadline" ]; then
		echo "Postgres at $PGHOST:$PGPORT has accepted no connection for $PATIENCE s: $said" >&2
		exit 1
	fi
	sleep 1
done

LOGIN_PASSWORD=$(cut -d, -f1 "$PASSWORD_FILE")
psql --file="$CONFIG/administrator.sql"
PGPASSWORD=$LOGIN_PASSWORD

# set_logins creates a login role for each password of a role, and drops the login roles of former passwords.
set_logins() {
	role=$1 connections=$2 logins=
	for LOGIN_PASSWORD in $(tr ',' ' ' <"$ROLE_PASSWORDS/$role"); do
		login=${role}_$(printf %s "$LOGIN_PASSWORD" | sha256sum | cut -c1-8)
		psql --set=role="$role" --set=login="$login" --set=connections="$connections" --file="$CONFIG/login.sql"
		logins=$logins,$login
	done
	psql --set=role="$role" --set=logins="$logins" --file="$CONFIG/former.sql"
}

while read -r role database connections; do
	psql --set=role="$role" --set=database="$database" --file="$CONFIG/role.sql"
	set_logins "$role" "$connections"
	echo "role $role owns database $database"
done <"$CONFIG/roles"
psql --file="$CONFIG/databases.sql"
psql --set=role=monitor --file="$CONFIG/monitor.sql"
set_logins monitor 4 # enough for an exporter and its replacement during an update
