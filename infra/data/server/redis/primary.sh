# Functions of an instance and of its Sentinel. They take what rights.sh takes, CONFIG (the folder of the scripts and of the authority),
# HOSTNAME (of the pod), INSTANCES (the DNS names of all instances), SENTINEL_PORT and SENTINEL (the folder of the pod's Sentinel).
umask 077
. "$CONFIG/rights.sh"
for me in $INSTANCES; do
	case "$me." in "$HOSTNAME".*) break ;; esac
done

# password prints the password of peers in use.
password() { derived "$(cut -d, -f1 "$PASSWORD_FILE")"; }

# as_peer HOST PORT COMMAND prints the first line of the answer.
as_peer() {
	host=$1 port=$2 && shift 2
	REDISCLI_AUTH=$(password) timeout 2 redis-cli --tls --cacert "$CONFIG/authority.pem" -h "$host" -p "$port" \
		--user peer --no-auth-warning "$@" 2>/dev/null | head -n 1
}

# named prints the primary that a Sentinel of another pod names.
named() {
	for instance in $INSTANCES; do
		[ "$instance" != "$me" ] || continue
		answer=$(as_peer "$instance" "$SENTINEL_PORT" SENTINEL GET-MASTER-ADDR-BY-NAME stream) || true
		case " $INSTANCES " in *" ${answer:--} "*)
			echo "$answer"
			return
			;;
		esac
	done
}

# remembered prints the primary that the pod's Sentinel knew last, and without one the first instance.
remembered() {
	known=$(sed -n 's/^sentinel monitor stream \([^ ]*\) .*/\1/p' "$SENTINEL/sentinel.conf" 2>/dev/null) || true
	echo "${known:-${INSTANCES%% *}}"
}
