#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes ready what tests of real machines need: Docker, libvirt, Vagrant, and small images.
#
#   setup.sh FOLDER PIP    (FOLDER keeps what is slow to make; called by ./dev testbed)
#
# For a machine that is only for tests: it installs packages and starts services. What is there
# already is left as it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
pip=$2

say() { printf '%s\n' "testbed: $*" >&2; }
die() {
    say "$@"
    exit 1
}

[[ $EUID -eq 0 ]] || die "this installs packages and starts services: run it as root"
command -v apt-get >/dev/null || die "this is for Debian: there is no apt-get"

# A newer qemu-utils from elsewhere would keep out the emulator of the same release.
packages=(apksigner chromium default-jre-headless dnsmasq-base e2fsprogs libvirt-clients libvirt-daemon-system libvirt-daemon-system-sysv
    mercurial mmdebstrap nginx-light openssh-client procps qemu-system-x86 qemu-utils rsync
    subversion vagrant
    vagrant-libvirt)
command -v dockerd >/dev/null || docker info >/dev/null 2>&1 || packages+=(docker.io)
missing=()
for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
        missing+=("$package")
done
if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    [[ " ${missing[*]} " != *" qemu-system-x86 "* ]] || missing+=("qemu-utils/$release")
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        --allow-downgrades "${missing[@]}" >&2
fi

mkdir -p "$folder"

# wait_for SECONDS COMMAND...
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

if ! docker info >/dev/null 2>&1; then
    say "starting dockerd"
    # One that was killed leaves its number, which may be somebody else's by now.
    pgrep -x dockerd >/dev/null || rm -f /run/docker.pid /run/docker/containerd/containerd.pid
    setsid nohup dockerd >"$folder/dockerd.log" 2>&1 </dev/null &
    wait_for 60 docker info || die "dockerd does not answer: see $folder/dockerd.log"
fi

libvirt_answers() { timeout 20 virsh -c qemu:///system list; }
if ! libvirt_answers >/dev/null 2>&1; then
    [[ ! -d /run/systemd/system ]] || die "libvirtd does not answer: systemctl start libvirtd"
    # In a container there is nobody to run QEMU as, and no security driver. A file in which
    # somebody set something is left alone.
    conf=/etc/libvirt/qemu.conf
    grep -qsE '^[[:space:]]*[^#[:space:]]' $conf || printf '%s\n' 'user="root"' 'group="root"' \
        'security_driver="none"' 'stdio_handler="file"' 'remember_owner=0' >>$conf
    say "starting libvirtd"
    libvirtd -d -p /run/libvirtd.pid
    wait_for 30 libvirt_answers || die "libvirtd does not answer: see /var/log/libvirt"
fi

if [[ ! -e $folder/complete ]]; then
    say "making images and boxes in $folder (once, about five minutes)"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$here/images.sh" "$work" "$pip" >&2
    cp -r "$work"/{root.tar,fdroid.tar,android.tar,systemd.tar,wheels,*.box} "$folder"
    # Prometheus's tool to test rules, without the service that its package would start.
    chmod 755 "$work"
    (cd "$work" && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; } >&2)
    dpkg-deb --extract "$work"/prometheus_*.deb "$work/prometheus"
    cp "$work/prometheus/usr/bin/promtool" "$folder"
    touch "$folder/complete"
fi

import() { # NAME ROOT CHANGE...
    local name=$1 root=$2 changes=()
    shift 2
    # The images are told from those of another recipe by the folder they were made from.
    local label="fdroid-bb.testbed=${folder##*/}"
    [[ $(docker image inspect -f '{{index .Config.Labels "fdroid-bb.testbed"}}' "$name" \
        2>/dev/null) != "${folder##*/}" ]] || return 0
    for change in "$@" "LABEL $label"; do changes+=(-c "$change"); done
    say "loading the image $name"
    docker import "${changes[@]}" "$folder/$root.tar" "$name" >/dev/null
}
import fdroid-bb/worker:test root 'USER vagrant' 'WORKDIR /home/vagrant' 'ENV HOME=/home/vagrant' \
    'CMD ["/usr/bin/bbworker"]'
import fdroid-bb/vagrant:test root 'CMD ["/usr/sbin/dropbear", "-F", "-E", "-s"]'
# As recipes/checkupdates/Dockerfile ends.
import fdroid-bb/checkupdates:test fdroid 'USER vagrant' 'WORKDIR /home/vagrant' \
    'ENV HOME=/home/vagrant' 'CMD ["/usr/local/bin/bbworker"]'
import fdroid-bb/android:test android 'USER vagrant' 'WORKDIR /home/vagrant' \
    'ENV HOME=/home/vagrant' 'CMD ["/usr/local/bin/bbworker"]'

boxes=$(vagrant box list --machine-readable)
add_box() { # NAME PROVIDER FILE
    local added="$HOME/.vagrant.d/boxes/$1/0/$2/testbed"
    [[ $boxes != *",$1"$'\n'*",$2"* || $(cat "$added" 2>/dev/null) != "${folder##*/}" ]] || return 0
    say "adding the box $1 for $2"
    vagrant box add --force --name "$1" --provider "$2" "$folder/$3" >/dev/null 2>&1
    printf '%s' "${folder##*/}" >"$added"
    # Vagrant's libvirt provider keeps a copy of the image of each box.
    local volume
    for volume in $(virsh -q -c qemu:///system vol-list default 2>/dev/null |
        awk -v box="$1_vagrant_box_image" 'index($1, box) == 1 { print $1 }'); do
        virsh -q -c qemu:///system vol-delete --pool default "$volume" >/dev/null
    done
}
export VAGRANT_CHECKPOINT_DISABLE=1
add_box fdroid-bb-test libvirt test.box
add_box fdroid-bb-bare libvirt bare.box
add_box fdroid-bb-test docker docker.box
add_box fdroid-bb-android libvirt android.box
say "ready"
