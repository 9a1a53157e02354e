#!/bin/sh
# Becomes the Sentinel of an instance. It ends when the certificate changes, or the password that the instance accepts, and is then restarted
# with the new one.
# Takes what primary.sh takes, PORT (of instances) and CERTIFICATE (the folder of the certificate).
set -eu
. "$CONFIG/primary.sh"

state() { cat "$CERTIFICATE/tls.crt" "$PASSWORD_FILE" | cksum; }
used=$(state)

# A replica takes over when two Sentinels have missed the primary for three seconds. The Sentinel adds what it learns.
conf=$SENTINEL/sentinel.conf
if [ ! -f "$conf" ]; then
	primary=$(named)
	cat >"$conf.new" <<-END
		bind * -::*
		port 0
		tls-port $SENTINEL_PORT
		tls-cert-file $CERTIFICATE/tls.crt
		tls-key-file $CERTIFICATE/tls.key
		tls-ca-cert-file $CONFIG/authority.pem
		tls-auth-clients no
		tls-replication yes
		unixsocket $SENTINEL/redis.sock
		unixsocketperm 700
		aclfile $SENTINEL/users.acl
		acl-pubsub-default allchannels
		dir $SENTINEL
		sentinel resolve-hostnames yes
		sentinel announce-hostnames yes
		sentinel announce-ip $me
		sentinel myid $(printf %s "$me" | sha1sum | cut -d ' ' -f 1)
		sentinel monitor stream ${primary:-$(remembered)} $PORT 2
		sentinel down-after-milliseconds stream 3000
		sentinel failover-timeout stream 10000
		sentinel parallel-syncs stream 2
		sentinel auth-user stream peer
		sentinel sentinel-user peer
	END
	mv "$conf.new" "$conf"
fi
grep -v -e '^sentinel auth-pass ' -e '^sentinel sentinel-pass ' "$conf" >"$conf.new"
echo "sentinel auth-pass stream $(password)" >>"$conf.new"
echo "sentinel sentinel-pass $(password)" >>"$conf.new"
mv "$conf.new" "$conf"
of_sentinels >"$SENTINEL/users.acl"

(
	while sleep 5 && kill -0 $$; do
		[ "$(state)" = "$used" ] || [ "$(as_peer "$me" "$PORT" PING)" != PONG ] || kill $$
	done
) &

exec redis-server "$conf" --sentinel
