#!/bin/sh
# Gives each service its database and its roles; run again, it makes them what they should be now.
# Takes PGHOST, PGPORT, PGUSER, CONFIG (the folder of the SQL scripts and of roles: one "role database connections" a
# line), PASSWORD_FILE (the administrator's passwords), PATIENCE (seconds) and ROLE_PASSWORDS (a folder with one file for each role).
# A file holds the password in use and, after a comma, the one before it. No password is ever an argument.
set -eu
bin=/usr/lib/postgresql/15/bin
export PGDATABASE=postgres PGPASSWORD LOGIN_PASSWORD

psql() {
	"$bin/psql" --no-psqlrc --quiet --tuples-only --set=ON_ERROR_STOP=1 "$@" </dev/null
}

# sign_in finds the password that the server accepts now, which may be either.
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
		echo "Postgres at $PGHOST:$PGPORT has let nobody in for $PATIENCE s: $said" >&2
		exit 1
	fi
	sleep 1
done

LOGIN_PASSWORD=$(cut -d, -f1 "$PASSWORD_FILE")
psql --file="$CONFIG/administrator.sql"
PGPASSWORD=$LOGIN_PASSWORD

# let_in makes a role for each password of another role, and drops those of former passwords.
let_in() {
	role=$1 connections=$2 timeout=$3 logins=
	for LOGIN_PASSWORD in $(tr ',' ' ' <"$ROLE_PASSWORDS/$role"); do
		login=${role}_$(printf %s "$LOGIN_PASSWORD" | sha256sum | cut -c1-8)
		# A role that is new, or restored from a dump, has no password. A password that works stays: a pooler signs in with its stored
		# form, which would change.
		case $(PGPASSWORD=$LOGIN_PASSWORD psql --username="$login" --command='SELECT 1' 2>&1) in
		*'password authentication failed'*) renew=true ;;
		*) renew=false ;;
		esac
		psql --set=role="$role" --set=login="$login" --set=connections="$connections" --set=timeout="$timeout" --set=renew=$renew \
			--file="$CONFIG/login.sql"
		logins=$logins,$login
	done
	psql --set=role="$role" --set=logins="$logins" --file="$CONFIG/former.sql"
}

while read -r role database connections; do
	psql --set=role="$role" --set=database="$database" --file="$CONFIG/role.sql"
	let_in "$role" "$connections" 3s # below the 4 s of a request
	echo "role $role owns database $database"
done <"$CONFIG/roles"
psql --file="$CONFIG/databases.sql"
psql --set=role=monitor --file="$CONFIG/monitor.sql"
let_in monitor 4 0 # an exporter's few connections, and those of the one that takes its place
