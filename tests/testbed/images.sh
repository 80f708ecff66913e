#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes, from Debian's packages and one root file system, what tests of real machines start:
#
#   images.sh WORK PIP    →  WORK/root.tar    for docker images: a worker, and an ssh server
#                            WORK/test.box    for Vagrant and libvirt, with a worker
#                            WORK/bare.box    the same without
#                            WORK/docker.box  for Vagrant's docker provider
#                            WORK/fdroid.tar  for docker images: what recipes/install.sh makes
#                            WORK/android.tar the same with gradle and an Android SDK
#                            WORK/android.box that for Vagrant and libvirt
#                            WORK/systemd.tar the root of a machine that systemd runs
#                            WORK/wheels      what puts a worker into the bare one
#
# The others have neither systemd nor an initramfs of Debian's: QEMU without KVM boots them in
# seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
files=$here/inside
recipes=$here/../../recipes
work=$1
pip=$2
cd "$work"

echo "wheels"
"$pip" download -q --disable-pip-version-check --dest wheels --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 \
    --platform manylinux2014_x86_64 --platform any buildbot-worker==4.3.0 pip

echo "root file system"
mmdebstrap -q --variant=extract --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=base-files,bash,busybox-static,coreutils,dropbear-bin,libc-bin,libpython3-stdlib,openssh-client,python3-minimal,sudo,tar \
    bookworm root.tar
unpack() { # ROOT
    mkdir "$1"
    tar -C "$1" -xpf "$1.tar" --exclude='./dev/*'
    mkdir -p "$1"/{dev,proc,sys,run,tmp,opt,etc/dropbear,etc/sudoers.d}
    mknod -m 666 "$1/dev/null" c 1 3
    mknod -m 666 "$1/dev/urandom" c 1 9
    mknod -m 600 "$1/dev/console" c 5 1
}
unpack root
mkdir -p root/home/vagrant/.ssh
printf '%s\n' 'root:x:0:0:root:/root:/bin/bash' 'nobody:x:65534:65534::/:/bin/false' \
    'vagrant:x:1000:1000::/home/vagrant:/bin/bash' >root/etc/passwd
printf '%s\n' 'root:x:0:' 'vagrant:x:1000:' 'nogroup:x:65534:' >root/etc/group
printf '%s\n' 'root:*:19000:0:99999:7:::' 'vagrant:*:19000:0:99999:7:::' >root/etc/shadow
chmod 600 root/etc/shadow
printf '%s\n' /bin/sh /bin/bash >root/etc/shells
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >root/etc/nsswitch.conf
for kind in account auth password session session-noninteractive; do
    echo "${kind%%-*} required pam_permit.so" >"root/etc/pam.d/common-$kind"
done
# What makes a root file system one that Vagrant can boot and log into.
bootable() { # ROOT
    local root=$1 applet kind
    for applet in awk clear find free grep gzip hostname id ifconfig insmod ip kill less lsmod \
        mount ping pkill poweroff ps reboot route sed sh sleep top udhcpc umount vi wc which \
        xargs; do
        [[ -e $root/bin/$applet || -e $root/usr/bin/$applet ]] ||
            ln -s /bin/busybox "$root/bin/$applet"
    done
    echo buildserver >"$root/etc/hostname"
    echo '127.0.0.1 localhost buildserver' >"$root/etc/hosts"
    echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
    chmod 440 "$root/etc/sudoers.d/vagrant"
    # Vagrant puts a key of its own in the place of this one, which everybody has.
    install -d -m 700 "$root/home/vagrant/.ssh"
    install -m 600 "$(find / -xdev -path '*/vagrant-*/keys/vagrant.pub' -print -quit)" \
        "$root/home/vagrant/.ssh/authorized_keys"
    chown -R 1000:1000 "$root/home/vagrant"
    chroot "$root" ldconfig
    for kind in rsa ed25519; do
        chroot "$root" dropbearkey -t $kind -f "/etc/dropbear/dropbear_${kind}_host_key" \
            >/dev/null 2>&1
    done
    install -m 755 "$files"/{rcS,udhcpc.sh} "$root/etc/"
    install -m 644 "$files/inittab" "$root/etc/"
    install -m 755 "$files/shutdown" "$root/sbin/"
    ln -sf /bin/busybox "$root/sbin/init"
}
bootable root

echo "kernel"
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
mkdir -p download initramfs/{bin,dev,modules,proc,root,sys} box
(cd download && apt-get download -qq "$kernel" 2>/dev/null && dpkg-deb -x linux-image*.deb .)
cp download/boot/vmlinuz-* box/vmlinuz
cp root/bin/busybox initramfs/bin/
number=10
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci \
    virtio_blk failover net_failover virtio_net virtio-rng; do
    file=$(find download/lib/modules -name "$module.ko*")
    [[ -n $file ]] || continue # built in
    cp "$file" "initramfs/modules/$((number++))-$module.ko"
done
install -m 755 "$files/init" initramfs/init
(cd initramfs && find . | ../root/bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >box/initrd

box() { # ROOT FILE [SIZE]
    local size=${3:-2}
    truncate -s "${size}G" disk.raw
    mkfs.ext4 -q -F -O ^has_journal -d "$1" disk.raw
    qemu-img convert -f raw -O qcow2 disk.raw box/box.img
    rm disk.raw
    echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": '"$size"'}' >box/metadata.json
    cp "$files/Vagrantfile.libvirt" box/Vagrantfile
    tar -C box -cf "$2" metadata.json Vagrantfile box.img vmlinuz initrd
}
echo "box without a worker"
box root bare.box

echo "box with one"
mkdir root/opt/worker
for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" root/opt/worker; done
install -m 755 "$files/bbworker" root/usr/bin/
install -m 644 "$files/buildbot.tac" root/opt/worker/
# Compiled once here, not at each boot under emulation.
chroot root python3 -m compileall -q /opt/worker /usr/lib/python3.11 >/dev/null 2>&1 || true
box root test.box
tar -C root -cf root.tar --exclude=./dev .

echo "fdroidserver, by its recipe"
mmdebstrap -q --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=busybox-static,dropbear-bin,sudo bookworm fdroid.tar
unpack fdroid
# Runs a script in a root, with the files beside it. Packages come from where this machine gets them,
# and are trusted as it trusts them.
inside() { # ROOT SCRIPT FILE...
    local root=$1
    shift
    mkdir "$root/recipe"
    cp "$@" "$root/recipe/"
    cp /etc/resolv.conf "$root/etc/"
    cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
    [[ ! -e /etc/pip.conf ]] || cp /etc/pip.conf "$root/etc/"
    # Java wants to see its processes.
    # shellcheck disable=SC2016  # for that shell
    unshare --mount sh -c 'mount -t proc proc "$1/proc" && exec chroot "$1" "/recipe/$2"' sh \
        "$root" "${1##*/}"
    rm -rf "$root/recipe" "$root/etc/pip.conf" "$root/etc/resolv.conf"
}
inside fdroid "$recipes"/{install.sh,bbworker,bsenv.sh,fdroid-machine,fdroid-machine.yml,requirements.lock}
bootable fdroid
tar -C fdroid -cf fdroid.tar --exclude=./dev .

echo "the same with gradle"
# In a root of its own, for it is three times as large.
inside fdroid "$here"/android/{install.sh,Awaiting.java,debian.gradle,gradle.properties,mend.py}
box fdroid android.box 3
tar -C fdroid -cf android.tar --exclude=./dev .

echo "machine with systemd"
mmdebstrap -q --variant=extract --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=base-files,bash,coreutils,dash,git,grep,libc-bin,libpython3-stdlib,libstdc++6,python3-minimal,sed,systemd,systemd-sysv,util-linux \
    bookworm systemd.tar
unpack systemd
printf '%s\n' 'root:x:0:0:root:/root:/bin/bash' 'nobody:x:65534:65534::/:/bin/false' \
    'buildbot:x:1000:1000::/srv:/bin/bash' >systemd/etc/passwd
printf '%s\n' 'root:x:0:' 'buildbot:x:1000:' 'nogroup:x:65534:' >systemd/etc/group
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files' >systemd/etc/nsswitch.conf
echo '127.0.0.1 localhost' >systemd/etc/hosts
echo '/dev/vda / ext4 rw,noatime 0 1' >systemd/etc/fstab
: >systemd/etc/machine-id
chroot systemd ldconfig
tar -C systemd -cf systemd.tar --exclude='./dev/*' .

echo "box for docker"
mkdir docker
echo '{"provider": "docker"}' >docker/metadata.json
cp "$files/Vagrantfile.docker" docker/Vagrantfile
tar -C docker -cf docker.box metadata.json Vagrantfile
