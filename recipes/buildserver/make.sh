#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the box that fdroid-bb.toml calls `buildserver-worker`:
#
#   make.sh [BASE_BOX]    (default: buildserver, as fdroidserver's makebuildserver makes it)
set -eu
cd "$(dirname "$0")"
[ $# -eq 0 ] || export BASE_BOX="$1"
trap 'vagrant destroy --force; rm -f buildserver-worker.box' EXIT
vagrant up --provider libvirt
vagrant package --output buildserver-worker.box
vagrant box add --force --name buildserver-worker buildserver-worker.box
