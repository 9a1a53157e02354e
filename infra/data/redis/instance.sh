#!/bin/sh
# Becomes one of several instances: a replica of the primary, or the primary itself.
# Takes what start.sh and primary.sh take, and PORT. It writes instance.conf beside SOCKET, which redis.conf includes.
set -eu
. "$CONFIG/primary.sh"

# A primary that was restarted may lack the last second, which its replicas have: it lets one of them take over.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	primary=$(named)
	[ "$primary" = "$me" ] || break
	sleep 1
done
primary=${primary:-$(remembered)}
echo "the primary is $primary"

folder=${SOCKET%/*}
of_instances >"$folder/users.acl"
# A primary without a replica that keeps up refuses writes: another one may have taken over without its knowledge.
{
	echo "tls-replication yes"
	echo "tls-ca-cert-file $CONFIG/authority.pem"
	echo "aclfile $folder/users.acl"
	echo "acl-pubsub-default allchannels"
	echo "replica-announce-ip $me"
	echo "repl-diskless-sync-delay 0"
	echo "min-replicas-to-write 1"
	echo "min-replicas-max-lag 3"
	echo "masteruser peer"
	echo "masterauth $(password)"
	[ "$primary" = "$me" ] || echo "replicaof $primary $PORT"
} >"$folder/instance.conf"

# A rotated password is used for the next connection to the primary.
(
	used=$(password)
	while sleep 5 && kill -0 $$; do
		there=$(password)
		if [ "$there" != "$used" ]; then
			said=$(echo "CONFIG SET masterauth $there" |
				REDISCLI_AUTH=$(cut -d, -f1 "$PASSWORD_FILE") redis-cli -s "$SOCKET" --user admin --no-auth-warning 2>&1) || true
			[ "$said" = OK ] && used=$there || echo "the password for the primary isn't changed yet" >&2
		fi
	done
) &

exec /bin/sh "$CONFIG/start.sh"
