# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command that ends with the master, and all that the command has started.

A program of its own: `supervise.py FOLDER RUN PARENT COMMAND...`. What Buildbot lacked: its
commands live on when the master is killed, and the next master starts them again beside themselves.

When PARENT, the master, dies, the kernel signals this process, which then ends COMMAND and all that
COMMAND has started: orphans become children of this process, also those in sessions of their own.
Until they are gone it holds a lock on the file RUN of FOLDER, one file for each run of the master.
The commands of a later run wait for the locks of those before.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

# Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# Seconds between the signal that lets a command tidy up and the one that cannot be refused.
_GRACE = 5

# What others may do with the files that a command makes: read them.
_UMASK = 0o022

_WAITED_FOR = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def main(folder: Path, run: str, parent: int, command: list[str]) -> NoReturn:
    """Run `command`, and end as it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    own = _open(folder / run)
    fcntl.flock(own, fcntl.LOCK_SH)
    # The kernel says nothing of a master that died before it was asked to.
    if os.getppid() != parent:
        sys.exit("the master has ended")
    _wait_for_earlier_runs(folder, run)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    child = _start(command)
    while True:
        if signal.sigwait(_WAITED_FOR) != signal.SIGCHLD:
            _end_all()
            _end_by(signal.SIGTERM)
        status = _reap().get(child)
        if status is not None:
            break
    # What it has left behind on purpose, such as a container, lives on.
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _wait_for_earlier_runs(folder: Path, run: str) -> None:
    for path in sorted(folder.iterdir()):
        if path.name == run:
            continue
        lock = _open(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for the commands of a master that was killed to end", file=sys.stderr)
            sys.stderr.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
        path.unlink(missing_ok=True)
        os.close(lock)


def _start(command: list[str]) -> int:
    guardian = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        # Should this process be killed itself.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(1)
        os.umask(_UMASK)
        # Python ignores these.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        os.execvp(command[0], command)
    except OSError as e:
        print(f"{command[0]}: {e.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


def _reap() -> dict[int, int]:
    """The children that have ended, each with its status."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


def _end_all() -> None:
    """End all descendants. One that cannot be ended, or not yet, is waited for."""
    _signal_all(signal.SIGTERM)
    end = time.monotonic() + _GRACE
    while _has_children() and (left := end - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left)
    pause = 0.02
    while _has_children():
        # Again and again: who is killed may have started another before.
        _signal_all(signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, pause)
        pause = min(2 * pause, 1)


def _has_children() -> bool:
    """Whether there are any, which is so while there are descendants."""
    _reap()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _signal_all(number: int) -> None:
    for pid in _descendants():
        # It may belong to another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # `PID (NAME) STATE PARENT ...`; the name may hold anything.
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = children.get(os.getpid(), [])
    for pid in found:
        found += children.get(pid, [])
    return found


def _end_by(number: int) -> NoReturn:
    """End by a signal, as the command did, and leave no second image of the memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
