#!/bin/bash
# machine.sh start NAME FOLDER: creates namespaces and cgroups in which a second node can run beside the first, like on a separate
# machine. It prints "ready" and runs until it is killed. The node's data is in FOLDER.
# machine.sh enter NAME PID COMMAND...: runs a command on the machine.
# machine.sh remove NAME: removes its cgroups after it was killed.
set -eu
# cgroup v1 has a folder per controller, cgroup v2 a single one.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then cgroups=(/sys/fs/cgroup); else cgroups=(); for c in /sys/fs/cgroup/*/; do [ -L "${c%/}" ] || cgroups+=("${c%/}"); done; fi

join() {
	for c in "${cgroups[@]}"; do echo $$ >"$c/$1/cgroup.procs"; done
}

case $1 in
start)
	for c in "${cgroups[@]}"; do
		mkdir -p "$c/$2"
		for file in cpuset.cpus cpuset.mems; do [ ! -f "$c/$file" ] || cat "$c/$file" >"$c/$2/$file"; done
	done
	join "$2"
	exec unshare --mount --net --pid --fork --kill-child --uts --ipc --cgroup --mount-proc --propagation private "$0" inside "$2" "$3" "${cgroups[@]}"
	;;
inside)
	hostname "$2"
	mount -t sysfs sysfs /sys
	if [ "$4" = /sys/fs/cgroup ]; then
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
	else
		mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
		for c in "${@:4}"; do
			mkdir "$c"
			case ${c##*/} in
			unified) mount -t cgroup2 cgroup2 "$c" ;;
			systemd) mount -t cgroup -o none,name=systemd cgroup "$c" ;;
			*) mount -t cgroup -o "${c##*/}" cgroup "$c" ;;
			esac
		done
	fi
	for folder in /var/lib/platform /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /run/containerd /run/docker /run/netns /run/lock \
		/run/xtables /opt/cni /etc/cni /usr/libexec/kubernetes; do
		[ -d "$folder" ] || { mkdir -p "$folder" && echo "$folder" >>"$3/made"; }
		mkdir -p "$3$folder"
		mount --bind "$3$folder" "$folder"
	done
	ip link set lo up
	echo ready
	exec sleep 3600
	;;
enter)
	join "$2"
	exec nsenter --all --target "$3" --wd="$PWD" "${@:4}"
	;;
remove)
	for c in "${cgroups[@]}"; do [ ! -d "$c/$2" ] || find "$c/$2" -depth -type d -exec rmdir {} +; done
	;;
esac
