#!/bin/sh
# Makes the data directory on the first start, then becomes the server.
# Takes PGDATA, PASSWORD_FILE (the superuser's password) and CONFIG (the folder of the configuration files).
set -eu
bin=/usr/lib/postgresql/15/bin

if [ ! -e "$PGDATA/PG_VERSION" ]; then
	# Made beside its place, so that what an interrupted start left is never taken for a database.
	rm -rf "$PGDATA.new"
	"$bin/initdb" --pgdata="$PGDATA.new" --username=postgres --pwfile="$PASSWORD_FILE" \
		--auth=scram-sha-256 --data-checksums --encoding=UTF8 --locale=C.UTF-8 --no-instructions
	mv "$PGDATA.new" "$PGDATA"
else
	# The password may have been rotated since. printf is part of the shell: no process list shows what it prints.
	printf "ALTER ROLE postgres PASSWORD '%s'\n" "$(sed "s/'/''/g" "$PASSWORD_FILE")" |
		"$bin/postgres" --single -D "$PGDATA" -c log_min_error_statement=panic postgres >/dev/null
fi

exec "$bin/postgres" -D "$PGDATA" -c config_file="$CONFIG/postgresql.conf" \
	-c hba_file="$CONFIG/pg_hba.conf" -c ident_file="$PGDATA/pg_ident.conf"
