#!/bin/bash
# disk.sh FOLDER TOOL...: makes the disk of a machine with Debian 12 in FOLDER, beside its kernel and the key of its root user. The disk
# has the sources, Go, the compiled tools and the packages that the node installs: the machine has no network.
set -eu -o pipefail
folder=$1 root=$1/root cache=${XDG_CACHE_HOME:-$HOME/.cache}/platform
shift

# The packages of an installation of Debian with an ssh server, a resolver on loopback, and the kernel of virtual machines.
packages=systemd-sysv,libpam-systemd,dbus,udev,kmod,apparmor,systemd-resolved,openssh-server,ca-certificates,iproute2,procps
packages+=,linux-image-cloud-amd64,busybox-static
# The node installs these itself, from the files.
installed='containerd runc containernetworking-plugins iptables ipset conntrack mmdebstrap docker.io'
mmdebstrap --quiet --variant=minbase --include=$packages --skip=cleanup/apt \
	--customize-hook="APT_CONFIG=\$MMDEBSTRAP_APT_CONFIG apt-get install --quiet --download-only --yes --no-install-recommends $installed" \
	bookworm "$root"

echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
echo machine >"$root/etc/hostname"
echo '127.0.0.1 localhost machine' >"$root/etc/hosts"
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
printf '[Match]\nName=en*\n[Network]\nDHCP=yes\nDNS=192.0.2.53\n' >"$root/etc/systemd/network/ethernet.network"
mkdir "$root/etc/systemd/logind.conf.d"
printf '[Login]\nKillUserProcesses=yes\n' >"$root/etc/systemd/logind.conf.d/sessions.conf"
chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved
ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
install -D -m 600 "$folder/key.pub" "$root/root/.ssh/authorized_keys"

mkdir "$root/root/platform"
git ls-files Pulumi.yaml local | xargs cp --parents --target-directory="$root/root/platform" bin/local
mkdir -p "$root/root/.cache/platform/tools"
for tool in "$@"; do
	cp -r "$cache/tools/$tool"-* "$root/root/.cache/platform/tools" || { echo "$tool is not in $cache: run make up first" >&2; exit 1; }
done
go=$(cd / && go env GOROOT) # the release that compiled the tools
cp -r "$go" "$root/usr/local/go"
# Fills the build cache, so that the machine compiles no package.
(cd local && PATH="$go/bin:$PATH" GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOCACHE="$root/root/.cache/go-build" \
	go build -trimpath -ldflags '-s -w -buildid=' -o "$folder/pause" ./cmd/pause)

cp "$root"/boot/vmlinuz-* "$folder/kernel"
cp "$root"/boot/initrd.img-* "$folder/initrd"
mke2fs -q -t ext4 -d "$root" "$folder/disk" 12G
rm -r "$root"
