# SPDX-License-Identifier: GPL-2.0-or-later
"""Kill what a test run leaves in its base directories, however that run ends.

As a program it reads base directories from stdin, one a line, until the run has closed it, which
the kernel does for one that was killed. Then it kills every process that works in one of them: a
master, which as a daemon is nobody's child, and the commands that it has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

_started: list[subprocess.Popen[bytes]] = []


def watch(basedir: Path) -> None:
    """Have what runs in this base directory killed when this process ends."""
    if not _started:
        # In a session of its own: Ctrl-C must not end it before the run.
        command = [sys.executable, "-I", "-S", __file__]
        _started.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
    pipe = _started[0].stdin
    assert pipe is not None
    pipe.write(f"{basedir.resolve()}\n".encode())
    pipe.flush()


def works_in(pid: int) -> Path | None:
    """Where a process works; None if there is none, or only its exit status is left of it."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _kill(basedirs: set[Path]) -> None:
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
        folder = works_in(pid)
        if folder is not None and not basedirs.isdisjoint([folder, *folder.parents]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _kill({Path(line.rstrip("\n")) for line in sys.stdin})
