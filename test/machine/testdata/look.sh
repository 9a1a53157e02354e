# Prints everything that a platform could leave on the machine.
for link in /sys/class/net/*; do echo "interface: ${link##*/}"; done
findmnt --raw --noheadings --output TARGET | grep -v -e ^/run/user/ -e ^/run/credentials/ -e ^/proc/sys/fs/binfmt_misc | sort | sed 's/^/mount: /'
for tables in iptables ip6tables iptables-legacy ip6tables-legacy; do
	$tables-save 2>/dev/null | grep -e ^-A -e '^:.* - \[' | sed "s/^/$tables: /"
done
ipset list -n 2>/dev/null | sed 's/^/ipset: /'
find /sys/fs/cgroup -maxdepth 2 -type d -name '*platform*' -o -maxdepth 2 -type d -name 'run-*.scope' | sed 's/^/cgroup: /'
echo "controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control)"
systemctl list-unit-files --state=enabled --plain --no-legend | sed 's/^/unit: /'
systemctl list-units --state=failed --plain --no-legend | sed 's/^/failed: /'
for service in containerd docker docker.socket; do echo "$service: $(systemctl is-active $service)"; done
for name in net/ipv4/ip_forward net/ipv4/conf/all/route_localnet net/bridge/bridge-nf-call-iptables; do
	echo "sysctl: $name=$(cat /proc/sys/$name 2>/dev/null || echo 0)"
done
for folder in /var/lib/platform /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /run/containerd /run/docker /opt/cni /etc/cni; do
	[ ! -e $folder ] || echo "folder: $folder"
done
readlink /proc/[0-9]*/exe | grep -e /platform/ -e containerd -e dockerd | sort | sed 's/^/process: /'
