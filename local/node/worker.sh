# Creates the network and the mount namespace of a further node, unless they exist, and connects it to the bridge.
# Arguments: the folder of all nodes, the folder and the name of this one, its address with the length of the prefix, the gateway, the bridge, the
# network of Services, and the folders that each node needs for itself.
set -eu
all=$1 folder=$2 name=$3 address=$4 gateway=$5 bridge=$6 services=$7
shift 7
namespaces=$folder/run/namespaces
if [ -f "$namespaces/complete" ] && nsenter --net="$namespaces/net" --mount="$namespaces/mnt" true 2>/dev/null &&
	ip link set "$name" up 2>/dev/null; then # an interrupted node-kill leaves it down
	exit 0
fi
# What an interrupted run has left: as long as processes use the namespaces, they outlive their files.
ip link delete "$name" 2>/dev/null || true
umount --lazy "$namespaces"/* "$namespaces" 2>/dev/null || true
rm -f "$namespaces/complete"

# unshare binds the namespaces to files, which must be on a private mount. They end when make stop unmounts them.
mkdir -m 700 -p "$folder/run" "$namespaces"
mount --bind "$namespaces" "$namespaces"
mount --make-private "$namespaces"
touch "$namespaces/net" "$namespaces/mnt" "$namespaces/machine"
mount --bind /proc/self/ns/net "$namespaces/machine"
# A mount namespace can be bound only within one with a lower number. Linux 6.18 numbers them on each CPU apart, so that some CPUs give new
# ones a lower number than that of a container. The CPU that made the container's doesn't.
bind() {
	for range in $(awk '$1 == "Cpus_allowed_list:" { gsub(",", " ", $2); print $2 }' /proc/self/status); do
		for cpu in $(seq "${range%-*}" "${range#*-}"); do
			fault=$(taskset --cpu-list "$cpu" unshare --net="$namespaces/net" --mount="$namespaces/mnt" --propagation private true 2>&1) && return
			umount "$namespaces/net" 2>/dev/null || true
		done
	done
	echo "$fault" >&2
	exit 1
}
bind
nsenter --net="$namespaces/net" --mount="$namespaces/mnt" sh -euc '
	# Mounts of pods on other nodes would stay busy here.
	awk -v all="$1/" -v own="$2/run/namespaces" "index(\$2, all) == 1 && index(\$2, own) != 1 { print \$2 }" /proc/self/mounts |
		sort -r | xargs -r -n1 umount --lazy
	own=$2/own
	shift 2
	for path; do
		mkdir -p "$path" "$own$path"
		mount --bind "$own$path" "$path"
	done' sh "$all" "$folder" "$@"

ip link add "$name" type veth peer name uplink netns "$namespaces/net"
ip link set "$name" master "$bridge" up
nsenter --net="$namespaces/net" sh -euc '
	ip link set lo up
	ip link add "$3" type bridge
	ip address add "$1" dev "$3"
	ip link set uplink master "$3" up
	ip link set "$3" up
	ip route add default via "$2"
	for sysctl in ipv4/ip_forward bridge/bridge-nf-call-iptables; do echo 1 >"/proc/sys/net/$sysctl"; done
	# As on the first node, no connection to a Service leaves the node.
	for chain in PREROUTING OUTPUT; do iptables -t nat -A "$chain" -d "$4" -p tcp -j REDIRECT --to-ports 1; done
' sh "$address" "$gateway" "$bridge" "$services"
stat --format %i "$namespaces/net" >"$namespaces/complete" # the processes of other namespaces restart
