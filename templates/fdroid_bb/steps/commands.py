# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on the machine of the master: in its own steps, and on its local workers.

What Buildbot lacked: commands that end with the master, whose files others can read although the
master is a daemon, and that may be silent for as long as they run.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import CANCELLED, FAILURE, SUCCESS
from buildbot.util.deferwaiter import DeferWaiter
from buildbot.util.runprocess import RunProcess
from buildbot.util.twisted import async_to_deferred

from ..common import output
from .run import Attempts, Retry, SetProperty, Statuses

_SUPERVISE = Path(__file__).resolve().with_name("supervise.py")

# In the base directory, which is where a master works: a lock for each of its runs.
_LOCKS = "commands"
_RUN = secrets.token_hex(8)

# Seconds in which `supervise.py` has ended a command with all that it has started, or never will.
_PATIENCE = 20


def supervised(command: Sequence[Any]) -> list[Any]:
    """The command that runs `command` and ends it with this process."""
    locks = Path.cwd() / _LOCKS
    locks.mkdir(mode=0o700, exist_ok=True)
    # -I -S: it needs no packages, and starts in 20 ms without them.
    python = [sys.executable, "-I", "-S", str(_SUPERVISE)]
    return [*python, str(locks), _RUN, str(os.getpid()), *command]


class RunOnMaster(BuildStep):
    """Runs `command` in `folder` of the output directory, for `limit` seconds at most.

    It is run again if it fails, as `retry` says, and its output becomes the property `sets`.
    """

    renderables: Sequence[str] = ("command", "env", "folder", "limit")

    def __init__(
        self,
        *,
        command: Any,
        limit: Any,
        folder: Any = ".",
        env: Mapping[str, Any] | None = None,
        retry: Retry | None = None,
        sets: SetProperty | None = None,
        warn_on: Sequence[int] = (),
        stop_on: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(warnOnWarnings=True, **kwargs)
        self._statuses = Statuses(warn_on, stop_on)
        self._attempts = Attempts(self, retry, sets)
        self.command = command
        self.limit = limit
        self.folder = folder
        self.env = dict(env or {})
        self._process: RunProcess | None = None

    async def run(self) -> int:  # type: ignore[override]  # BuildStep awaits either
        """Its exit status decides."""
        assert self.master is not None
        stdio: Any = await self.addLog("stdio")
        folder = output.folder(self.master) / self.folder
        await stdio.addHeader(f"{' '.join(self.command)}\n in {folder}\n")
        if self.stopped:
            return CANCELLED
        if not folder.is_dir():
            await stdio.addStderr(f"there is no folder {folder}\n")
            return FAILURE
        return await self._attempts.run(lambda: self._attempt(stdio, folder), stdio)

    async def _attempt(self, stdio: Any, folder: Path) -> int:
        assert self.master is not None

        def printed(data: bytes) -> None:
            self._attempts.printed(data.decode(errors="replace"))
            written.add(stdio.addStdout(data))

        assert self.build is not None
        page: Any = await self.build.getUrl()
        written = DeferWaiter()
        self._process = _Process(
            lambda why: written.add(stdio.addHeader(f"{why}\n")),
            self.master.reactor,
            supervised(self.command),
            workdir=os.fspath(folder),
            # What fdroidserver reads to say where something comes from.
            env={"CI_JOB_URL": page, **_expanded(self.env)},
            collect_stdout=printed,
            collect_stderr=lambda data: written.add(stdio.addStderr(data)),
            io_timeout=None,
            runtime_timeout=self.limit,
            sigterm_timeout=_PATIENCE,
        )
        status = await self._process.start()
        await written.wait()
        if status == 0:
            return SUCCESS
        number = self._process.result_signal
        ended = f"killed by signal {number}" if number is not None else f"exit status {status}"
        await stdio.addHeader(f"{ended}\n")
        self.descriptionDone = [ended]
        if number is not None:
            return FAILURE
        self._statuses.ended(self, status)
        return self._statuses.results.get(status, FAILURE)

    @async_to_deferred
    async def interrupt(self, reason: Any) -> None:
        """End it, with all that it has started."""
        await super().interrupt(reason)
        if self._process is not None and self._process.deferred is not None:
            self._process.kill(str(reason))


def _expanded(env: Mapping[str, str]) -> dict[str, str]:
    """As on workers, `${NAME}` in a value is a variable of the master's."""
    return {
        key: re.sub(r"\${([0-9a-zA-Z_]*)}", lambda found: os.environ.get(found[1], ""), value)
        for key, value in env.items()
    }


class _Process(RunProcess):
    """As Buildbot's, but that it says why it is killed where people see it."""

    def __init__(self, say: Callable[[str], object], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._say = say

    def kill(self, msg: str) -> None:
        """Have it ended."""
        self._say(msg)
        super().kill(msg)


def _supervise_local_workers() -> None:
    """A master runs the commands of its local workers itself, with the classes of buildbot-worker,
    and no argument of `LocalWorker` leads to what it does with them.
    """
    try:
        from buildbot_worker import runprocess
    except ImportError:
        # Then there are no local workers either.
        return
    process: Any = runprocess.RunProcess
    spawn = process._spawnProcess

    def spawn_supervised(
        self: Any, protocol: Any, executable: Any, args: Any = (), *more: Any, **kwargs: Any
    ) -> Any:
        # SIGTERM is what has `supervise.py` end all; Buildbot's default is SIGKILL.
        self.sigtermTime = self.sigtermTime or _PATIENCE
        command = [os.fsencode(arg) for arg in supervised(args)]
        return spawn(self, protocol, command[0], command, *more, **kwargs)

    process._spawnProcess = spawn_supervised


_supervise_local_workers()
