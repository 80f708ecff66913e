#!/bin/sh
# What the DHCP client does with its answer.
# shellcheck disable=SC2154  # udhcpc sets them
case "$1" in
bound | renew)
    ifconfig "$interface" "$ip" netmask "$subnet"
    [ -z "$router" ] || route add default gw "${router%% *}" dev "$interface" 2>/dev/null
    ;;
esac
exit 0
