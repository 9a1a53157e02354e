#!/bin/sh
# Becomes the server, which serves a renewed certificate without a restart.
# Takes CONFIG (the folder of redis.conf), CERTIFICATE (the folder of the server's certificate), PASSWORD_FILE (the
# administrator's passwords, the one in use first) and SOCKET.
set -eu

ask() {
	REDISCLI_AUTH=$(cut -d, -f1 "$PASSWORD_FILE") redis-cli -s "$SOCKET" --user admin "$@"
}

(
	served=$(cksum <"$CERTIFICATE/tls.crt")
	while sleep 5 && kill -0 $$; do
		there=$(cksum <"$CERTIFICATE/tls.crt")
		if [ "$there" != "$served" ]; then
			said=$(ask CONFIG SET tls-cert-file "$CERTIFICATE/tls.crt" tls-key-file "$CERTIFICATE/tls.key" 2>&1) || true
			[ "$said" = OK ] && served=$there || echo "the renewed certificate isn't served yet: $said" >&2
		fi
	done
) &

exec redis-server "$CONFIG/redis.conf"
