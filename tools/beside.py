#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run commands side by side, and show what each of them prints in one piece.

    beside.py COMMAND... LAST

Each is one argument, for the shell. What LAST prints is seen at once; what the others print is
kept and shown when they end. The status is 0 if all succeeded. Ctrl-C ends them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Seconds for a command to end by itself after Ctrl-C: pytest stops the masters it has started.
PATIENCE = 60

_PR_SET_CHILD_SUBREAPER = 36


class Part:
    """A command that runs, in a process group of its own."""

    def __init__(self, command: str, log: Path | None) -> None:
        self.command = command
        self.log = log
        self.seconds = 0.0
        self._began = time.monotonic()
        output = None if log is None else log.open("wb")
        self.process = subprocess.Popen(
            # What is not seen gives way to what is.
            [*([] if log is None else ["nice"]), "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if log is None else subprocess.STDOUT,
            process_group=0,
        )

    def show(self) -> None:
        """Once it has ended: show what it printed."""
        self.seconds = time.monotonic() - self._began
        if self.log is None:
            return
        sys.stdout.write(f"\n===== {self.command}\n")
        sys.stdout.flush()
        with self.log.open("rb") as log:
            shutil.copyfileobj(log, sys.stdout.buffer)
        sys.stdout.write(f"===== {self.outcome()}\n")
        sys.stdout.flush()

    def outcome(self) -> str:
        """How it ended, and after how long."""
        minutes, seconds = divmod(round(self.seconds), 60)
        status = self.process.returncode
        word = f"failed with status {status}" if status else "succeeded"
        return f"{self.command}: {word} after {minutes}:{seconds:02}"

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)


def show(running: list[Part], until: float = math.inf) -> None:
    """Show each when it has ended, and take it off the list, until that moment at most."""
    while running and time.monotonic() < until:
        for part in [part for part in running if part.process.poll() is not None]:
            part.show()
            running.remove(part)
        reap({part.process.pid for part in running})
        time.sleep(0.1)


def reap(parts: set[int]) -> None:
    """Do for the orphans that have ended what init would do."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, ended)) and found.si_pid not in parts:
            os.waitpid(found.si_pid, 0)


def descendants() -> set[int]:
    """All processes that came of this one. Daemons are among them, since it adopts orphans."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command before it, in brackets, may hold anything.
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        new = children.get(todo.pop(), [])
        found.update(new)
        todo += new
    return found


def end(running: list[Part]) -> None:
    """End the commands, and whatever they left."""
    for part in running:
        part.interrupt()
    # Whoever asks twice is in a hurry.
    with contextlib.suppress(KeyboardInterrupt):
        show(running, time.monotonic() + PATIENCE)
    while left := descendants():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        reap(set())


def main(commands: list[str]) -> int:
    """Run them; the status."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Also where a shell has it ignored, as for its background jobs: the commands get it as it was
    # before that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        parts: list[Part] = []
        running: list[Part] = []
        try:
            for number, command in enumerate(commands, start=1):
                last = number == len(commands)
                parts.append(Part(command, None if last else Path(folder, str(number))))
                running.append(parts[-1])
            show(running)
        except KeyboardInterrupt:
            end(running)
            return 128 + signal.SIGINT
    for part in parts:
        print(f"beside: {part.outcome()}", file=sys.stderr)
    return int(any(part.process.returncode for part in parts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
