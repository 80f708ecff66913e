# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command that is killed with the master, and with it what it has started.

A program of its own: `tie.py MASTER COMMAND...`. The kernel can signal a process whose parent has
died, but not what that has started, and git's helpers wait for a silent server as long as it likes.
So this process takes the signal, and kills its group. Unlike `supervise.py` of the room `steps` it
holds no lock: nothing has to wait for the end of what asks and does not write.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from typing import NoReturn

# Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1

# What the kernel sends when the master has died.
_MASTER_DIED = signal.SIGUSR1

# The group is sent these, and the command with it: it is waited for.
_FOR_THE_COMMAND = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_WAITED_FOR = {signal.SIGCHLD, _MASTER_DIED, *_FOR_THE_COMMAND}


def main(master: int, command: list[str]) -> NoReturn:
    """Run `command`, and end as it ends."""
    # Already so where Buildbot gives it a terminal.
    with contextlib.suppress(PermissionError):
        os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    _die_with_parent(master, _MASTER_DIED)
    child = _start(command)
    while True:
        number = signal.sigwait(_WAITED_FOR)
        if number == _MASTER_DIED:
            os.killpg(0, signal.SIGKILL)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _die_with_parent(parent: int, number: signal.Signals) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    # The kernel says nothing of one that died before it was asked to.
    if os.getppid() != parent:
        os._exit(1)


def _start(command: list[str]) -> int:
    here = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        # Should this process be killed itself.
        _die_with_parent(here, signal.SIGKILL)
        # Python ignores these.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        os.execvp(command[0], command)
    except OSError as e:
        print(f"{command[0]}: {e.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


def _end_by(number: int) -> NoReturn:
    """End by a signal, as the command did, and leave no second image of the memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
