#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Puts into a Debian 12 or newer what F-Droid's builds run with: fdroidserver, and a Buildbot worker
# that a master can start.
#
#   install.sh    (as root, with the files of this folder beside it)
#
# Used by the image of checkupdates, by the box of the buildserver and by the tests.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends ca-certificates git git-svn mercurial \
    openssh-client python3-venv subversion

# Apart from what Debian's Python has, and with the hashes of what was looked at.
python3 -m venv /opt/fdroid
/opt/fdroid/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
    --require-hashes -r "$here/requirements.lock"
ln -sf /opt/fdroid/bin/fdroid /usr/local/bin/fdroid
install -m 755 "$here/bbworker" /usr/local/bin/bbworker

id vagrant >/dev/null 2>&1 || useradd --create-home --shell /bin/bash vagrant
mkdir -p /opt/android-sdk
apt-get clean
rm -rf /var/lib/apt/lists/*
