#!/bin/sh
# Makes the users of a running Redis what the ACL file says.
# Takes HOST, PORT, AUTHORITY (a file: who signs the server's certificate), USERS (the ACL file), PATIENCE (seconds) and PASSWORD_FILE (the
# administrator's passwords: the one in use and, after a comma, the one before it). No password is ever an argument.
set -eu
export REDISCLI_AUTH

ask() {
	redis-cli --tls --cacert "$AUTHORITY" -h "$HOST" -p "$PORT" --user admin --no-auth-warning "$@" 2>&1
}

# sign_in finds the password that the server accepts now, which may be either.
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
		echo "Redis at $HOST:$PORT has let nobody in for $PATIENCE s: $said" >&2
		exit 1
	fi
	sleep 1
done

# A user is set in one step, so that nobody ever finds it without its rights.
while read -r _ name rules; do
	said=$(echo "ACL SETUSER $name reset $rules" | ask)
	if [ "$said" != OK ]; then
		echo "user $name: $said" >&2
		exit 1
	fi
	echo "user $name may do what it should"
done <"$USERS"

for name in $(echo 'ACL USERS' | ask); do
	if ! grep -q "^user $name " "$USERS"; then
		echo "ACL DELUSER $name" | ask >/dev/null
		echo "user $name is gone"
	fi
done
