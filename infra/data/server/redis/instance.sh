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
used=$(password)
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
	echo "masterauth $used"
	[ "$primary" = "$me" ] || echo "replicaof $primary $PORT"
} >"$folder/instance.conf"

# say sends the commands of its input to the instance.
say() { REDISCLI_AUTH=$(cut -d, -f1 "$PASSWORD_FILE") timeout 5 redis-cli -s "$SOCKET" --user admin --no-auth-warning 2>&1; }

# follow makes a replica follow the primary that the pod's Sentinel names: a failover leaves out a replica that is new to the Sentinels.
follow() {
	followed=$(echo "INFO replication" | say | sed -n 's/^master_host:\([^[:cntrl:]]*\).*/\1/p')
	named=$(as_peer "$me" "$SENTINEL_PORT" SENTINEL GET-MASTER-ADDR-BY-NAME stream)
	case " $INSTANCES " in *" ${named:--} "*)
		[ -z "$followed" ] || [ "$named" = "$followed" ] || [ "$named" = "$me" ] || echo "REPLICAOF $named $PORT" | say
		;;
	esac
}

# A rotated password is used for the next connection to the primary.
(
	while sleep 5 && kill -0 $$; do
		there=$(password)
		if [ "$there" != "$used" ]; then
			said=$(echo "CONFIG SET masterauth $there" | say) || true
			[ "$said" = OK ] && used=$there || echo "the password for the primary isn't changed yet" >&2
		fi
		follow || true
	done
) &

exec /bin/sh "$CONFIG/start.sh"
