#!/bin/sh
# Makes the data directory on the first start, then becomes the server.
# Takes PGDATA, PASSWORD_FILE (the superuser's passwords, the one in use first), CERTIFICATE (the folder of the server's
# certificate) and CONFIG (the folder of the configuration files).
set -eu
bin=/usr/lib/postgresql/15/bin
password=$(cut -d, -f1 "$PASSWORD_FILE")

if [ ! -e "$PGDATA/PG_VERSION" ]; then
	# Made beside its place, so that what an interrupted start left is never taken for a database. printf is part of the
	# shell: no process list shows what it prints.
	rm -rf "$PGDATA.new"
	printf %s "$password" | "$bin/initdb" --pgdata="$PGDATA.new" --username=postgres --pwfile=/dev/stdin \
		--auth=scram-sha-256 --data-checksums --encoding=UTF8 --locale=C.UTF-8 --no-instructions
	mv "$PGDATA.new" "$PGDATA"
else
	# The password may have been rotated since.
	printf "ALTER ROLE postgres PASSWORD '%s'\n" "$(printf %s "$password" | sed "s/'/''/g")" |
		"$bin/postgres" --single -D "$PGDATA" -c log_min_error_statement=panic -c config_file="$CONFIG/postgresql.conf" \
			-c hba_file="$CONFIG/pg_hba.conf" -c ident_file="$PGDATA/pg_ident.conf" postgres >/dev/null
fi
unset password

# A renewed certificate is served without a restart.
(
	served=$(cksum <"$CERTIFICATE/tls.crt")
	while sleep 5 && kill -0 $$; do
		there=$(cksum <"$CERTIFICATE/tls.crt")
		if [ "$there" != "$served" ]; then
			kill -HUP $$ # which is the server by then
			served=$there
		fi
	done
) &

exec "$bin/postgres" -D "$PGDATA" -c config_file="$CONFIG/postgresql.conf" \
	-c hba_file="$CONFIG/pg_hba.conf" -c ident_file="$PGDATA/pg_ident.conf"
