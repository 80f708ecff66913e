# SPDX-License-Identifier: GPL-2.0-or-later
"""Bring up loopback in a new network, with more addresses if wanted, then become a command.

    unshare -n python isolate.py [ADDRESS...] -- COMMAND [ARGUMENT...]

What `ip` does, for machines that do not have it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_UP = 0x1 | 0x40


def main() -> None:
    """Set up, and exec."""
    split = sys.argv.index("--")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP))
        for number, address in enumerate(sys.argv[1:split], start=1):
            packed = struct.pack(
                "16sHH4s8x", f"lo:{number}".encode(), socket.AF_INET, 0, socket.inet_aton(address)
            )
            fcntl.ioctl(s, _SIOCSIFADDR, packed)
    command = sys.argv[split + 1 :]
    os.execvp(command[0], command)  # noqa: S606  # there is no shell to want


main()
