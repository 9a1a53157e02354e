#!/bin/sh
# Sets the users of a running Redis as in the ACL file.
# Environment: HOST, PORT, AUTHORITY (the file of the authority of the server's certificate), USERS (the ACL file), PATIENCE (seconds) and
# PASSWORD_FILE (the administrator's current password and, after a comma, the former one). No password is passed as an argument.
set -eu
export REDISCLI_AUTH

ask() {
	redis-cli --tls --cacert "$AUTHORITY" -h "$HOST" -p "$PORT" --user admin --no-auth-warning "$@" 2>&1
}

# sign_in finds the password that the server accepts: the current or the former one.
sign_in() {
	for REDISCLI_AUTH in $(tr ',' ' ' <"$PASSWORD_FILE"); do
		said=$(ask PING </dev/null) || true
		[ "$said" = PONG ] && return 0
	done
	return 1
}

deadline=$(($(date +%s) + PATIENCE))
until sign_in; do
	if [ "$(date +%s)" -ge "$deadline" ]; then
		echo "Redis at $HOST:$PORT has accepted no connection for $PATIENCE s: $said" >&2
		exit 1
	fi
	sleep 1
done

# One command sets a user, so that the user never exists without its rights.
while read -r _ name rules; do
	said=$(echo "ACL SETUSER $name reset $rules" | ask)
	if [ "$said" != OK ]; then
		echo "user $name: $said" >&2
		exit 1
	fi
	echo "user $name is set"
done <"$USERS"

for name in $(echo 'ACL USERS' | ask); do
	if ! grep -q "^user $name " "$USERS"; then
		echo "ACL DELUSER $name" | ask >/dev/null
		echo "user $name is deleted"
	fi
done
