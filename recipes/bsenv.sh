# shellcheck shell=sh
# /etc/profile.d/bsenv.sh: what a login shell of a build knows, as fdroidserver's own boxes have it.
export ANDROID_HOME=/opt/android-sdk
export PATH="$PATH:$ANDROID_HOME/tools:$ANDROID_HOME/platform-tools:/opt/gradle/bin"
export DEBIAN_FRONTEND=noninteractive
export home_vagrant=/home/vagrant
export fdroidserver=$home_vagrant/fdroidserver
export LC_ALL=C.UTF-8
