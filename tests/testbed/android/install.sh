#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Run as root inside a Debian 12 that recipes/install.sh has made: gives it what one app needs that
# is built by gradle, from Debian's packages alone.
#
# What these are short of stands in debian.gradle and in mend.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export DEBIAN_FRONTEND=noninteractive

# The stubs of the platform and `dx` left Debian after 11. They are jars, for any machine; nothing
# else may come from there.
old='android-sdk-platform-23 dalvik-exchange libandroid-23-java libandroid-uiautomator-23-java'
apt-get update -q
# shellcheck disable=SC2016  # for apt-get
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' \
    'Component: main' | sort -u | head -n 1)
echo "deb $mirror bullseye main" >/etc/apt/sources.list.d/bullseye.list
printf '%s\n' 'Package: *' 'Pin: release n=bullseye' 'Pin-Priority: -1' '' \
    "Package: $old" 'Pin: release n=bullseye' 'Pin-Priority: 500' >/etc/apt/preferences.d/bullseye
apt-get update -q
# What this installs wants to put links there.
mkdir -p /usr/share/man/man1
# shellcheck disable=SC2086  # several words
apt-get install -q -y --no-install-recommends aapt aidl android-sdk-build-tools-common apksigner \
    gradle libgradle-android-plugin-java libjaxb-java openjdk-17-jdk-headless zipalign $old
apt-get clean
rm -rf /var/lib/apt/lists/*

# Where F-Droid's own machines have them.
rm -rf /opt/android-sdk
ln -s /usr/lib/android-sdk /opt/android-sdk
mkdir -p /opt/gradle/versions
ln -sfn /usr/share/gradle /opt/gradle/versions/4.4.1

# A virtual machine without KVM takes its time to compile what then runs once.
echo "export JAVA_TOOL_OPTIONS='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'" >/etc/profile.d/short.sh

python3 "$here/mend.py" "$here" /opt/gradle/mended.jar
install -D -m 644 -t /home/vagrant/.gradle/init.d "$here/debian.gradle"
install -m 644 "$here/gradle.properties" /home/vagrant/.gradle/
chown -R vagrant: /home/vagrant/.gradle
