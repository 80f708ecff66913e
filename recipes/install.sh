#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Puts into a Debian 12 or newer what F-Droid's builds run with: fdroidserver, what its `fdroid build
# --on-server` expects of a machine, and a Buildbot worker that a master can start.
#
#   install.sh    (as root, with the files of this folder beside it)
#
# Used by the image of checkupdates, by the box of the buildserver and by the tests.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# curl and unzip are for gradlew-fdroid, which fetches versions of gradle that are not there.
apt-get install -q -y --no-install-recommends ca-certificates curl git git-svn mercurial \
    openssh-client python3-venv rsync subversion unzip

# Apart from what Debian's Python has, and with the hashes of what was looked at.
python3 -m venv /opt/fdroid
pip() { /opt/fdroid/bin/pip "$@" --quiet --no-cache-dir --disable-pip-version-check --require-hashes; }
pip install -r "$here/requirements.lock"
ln -sf /opt/fdroid/bin/fdroid /usr/local/bin/fdroid
install -m 755 "$here/bbworker" "$here/fdroid-machine" /usr/local/bin/
[ -e /etc/fdroid-machine.yml ] || install -m 644 "$here/fdroid-machine.yml" /etc/
[ -e /etc/profile.d/bsenv.sh ] || install -m 644 "$here/bsenv.sh" /etc/profile.d/

id vagrant >/dev/null 2>&1 || useradd --create-home --shell /bin/bash vagrant
mkdir -p /opt/android-sdk /opt/gradle/bin /opt/gradle/versions
chown vagrant: /opt/gradle/versions

# The source has it, what pip installs has not. Some apps replace it, in just this place.
source=$(mktemp -d)
sed -n '/^fdroidserver==/,/[^\\]$/p' "$here/requirements.lock" >"$source/lock"
pip download --no-deps --no-binary :all: --dest "$source" -r "$source/lock"
tar -C "$source" --strip-components=1 -xzf "$source"/fdroidserver-*.tar.gz
install -D -m 755 -t /home/vagrant/fdroidserver "$source/gradlew-fdroid"
chown -R vagrant: /home/vagrant/fdroidserver
[ -e /opt/gradle/bin/gradle ] ||
    ln -sf /home/vagrant/fdroidserver/gradlew-fdroid /opt/gradle/bin/gradle
rm -rf "$source"

apt-get clean
rm -rf /var/lib/apt/lists/*
