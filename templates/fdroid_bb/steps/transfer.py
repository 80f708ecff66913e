# SPDX-License-Identifier: GPL-2.0-or-later
"""Copy a file between worker and master, whole or not at all.

What Buildbot lacked: a transfer that a full disk or a lost worker cuts short leaves a part of the
file under its name, and nobody compares what has arrived with what was sent. The comparison is with
what the worker says: it finds accidents. A worker that lies could as well send another file.
"""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from buildbot.process.buildstep import BuildStep
from buildbot.process.remotecommand import RemoteCommand, RemoteException, RemoteShellCommand
from buildbot.process.remotetransfer import FileReader
from buildbot.process.results import FAILURE, SUCCESS
from buildbot.util import unicode2bytes
from buildbot.worker.protocols.base import FileWriterImpl
from twisted.internet import defer, threads
from twisted.python import log

from ..common import output
from ..common.output import Part, Refused

# Bytes that are sent at once.
_BLOCK = 256 * 1024

# Characters that a command on the worker may print.
_MOST_PRINTED = 4 * 1024 * 1024

# Characters of a reason that stand in the summary of a step.
_SUMMARY = 200

_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class Transfer(BuildStep, ABC):
    """Copies `source` to `to` within `limit` seconds. Paths on the worker start at the build's own
    folder, those on the master lie below its output directory.
    """

    renderables: Sequence[str] = ("source", "to", "limit")

    def __init__(self, *, source: Any, to: Any, limit: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.to = to
        self.limit = limit
        self._late = False
        self._stdio: Any = None

    async def run(self) -> int:  # type: ignore[override]  # BuildStep awaits either
        """The log says why it failed."""
        assert self.master is not None
        self._stdio = await self.addLog("stdio")
        timer = self.master.reactor.callLater(self.limit, self._give_up)
        try:
            await self.copy()
        except Refused as e:
            why = str(e)
        except OSError as e:
            why = f"{e.filename or self.to}: {e.strerror}"
        else:
            return SUCCESS
        finally:
            if timer.active():
                timer.cancel()
        await self._stdio.addStderr(f"{why}\n")
        self.descriptionDone = [why[:_SUMMARY]]
        return FAILURE

    @abstractmethod
    async def copy(self) -> None:
        """Do it. Refused or OSError where it fails."""

    def _give_up(self) -> None:
        self._late = True
        self._stop(f"not done within {self.limit} seconds")

    def _stop(self, why: str) -> None:
        if self.cmd is not None:
            self.cmd.interrupt(why)

    async def command(self, name: str, **args: Any) -> None:
        """Have the worker do something; Refused if it fails."""
        command = RemoteCommand(name, {"workdir": self.workdir, **args})
        command.useLog(self._stdio)
        await self._run(command, name)

    async def printed(self, *words: str) -> list[str]:
        """The lines that a command on the worker prints; Refused if it fails."""
        command = _Quiet(self.workdir, list(words), logEnviron=False, timeout=None)
        command.useLog(self._stdio)
        await self._run(command, words[0])
        if command.room < 0:
            raise Refused(f"`{words[0]}` on the worker printed too much")
        # `splitlines` would split at more than line feeds, which names of files can hold.
        return command.stdout.split("\n")[:-1]

    async def _run(self, command: RemoteCommand, name: str) -> None:
        try:
            if not self._late:
                await self.runCommand(command)
        except (RemoteException, OSError) as e:
            # What the worker raised; a remote one tells where, too.
            raise Refused(f"`{name}` failed on the worker: {str(e).partition(chr(10))[0]}") from e
        if self._late:
            raise Refused(f"not done within {self.limit} seconds")
        if command.results() != SUCCESS:
            raise Refused(f"`{name}` failed on the worker")

    async def status(self, path: str) -> tuple[int, int] | None:
        """Mode and size of a file of the worker, if it is there."""
        command = RemoteCommand("stat", {"file": path, "workdir": self.workdir})
        await self.runCommand(command)
        found = command.updates["stat"]
        if command.results() != SUCCESS or not found:
            return None
        return int(found[-1][stat.ST_MODE]), int(found[-1][stat.ST_SIZE])

    async def sums(self, *words: str) -> dict[str, str]:
        """The SHA-256 of files of the worker by their names, from a command with `sha256sum`."""
        found = [_SUM.fullmatch(line) for line in await self.printed(*words)]
        # A name with a line feed or a backslash makes a line that begins with a backslash.
        if not all(found):
            raise Refused("the worker has a file with a line feed or backslash in its name")
        return {line[2]: line[1] for line in found if line is not None}

    async def sum(self, path: str) -> str:
        """The SHA-256 of one file of the worker."""
        found = await self.sums("sha256sum", "--", path)
        if path not in found:
            raise Refused(f"`sha256sum` on the worker does not name {path}")
        return found[path]

    async def fetch(self, source: str, expected: tuple[int, str], target: Path) -> None:
        """Copy a file of that size and SHA-256 from the worker."""
        size = expected[0]
        with Part(target) as part:
            writer = _Writer(part.file, size, self._stop)
            args = {"workersrc": source, "writer": writer, "maxsize": size + 1, "blocksize": _BLOCK}
            try:
                await self.command("uploadFile", keepstamp=False, **args)
            finally:
                # Then the worker was told to stop, and knows nothing of the reason.
                if writer.problem is not None:
                    raise writer.problem
            await threads.deferToThread(part.commit, expected)


class _Quiet(RemoteShellCommand):
    """A command whose output is collected, up to a limit, and not logged."""

    room = _MOST_PRINTED

    def remoteUpdate(self, key: str, value: Any, is_flushed: bool) -> Any:
        """Keep what it prints."""
        if key == "stdout":
            self.room -= len(value)
            if self.room >= 0:
                self.stdout += value
            return defer.succeed(None)
        return super().remoteUpdate(key, value, is_flushed)


class _Writer(FileWriterImpl):
    """Takes up to `most` bytes, and remembers what kept it from doing so."""

    def __init__(self, file: BinaryIO, most: int, stop: Callable[[str], object]) -> None:
        self._file = file
        self._room = most
        self._stop = stop
        self.problem: Refused | OSError | None = None

    def remote_write(self, data: Any) -> None:
        """Raises nothing: a remote worker cannot report a failure that the master has sent it, and
        its command would never end.
        """
        data = unicode2bytes(data)
        self._room -= len(data)
        if self.problem is not None or self._file.closed:
            return
        try:
            if self._room < 0:
                raise Refused("the file has grown while it was copied")
            self._file.write(data)
        except (Refused, OSError) as e:
            self.problem = e
            self._stop(str(e))

    def remote_utime(self, times: Any) -> None:
        """Nobody asked for it."""

    def remote_close(self) -> None:
        """The file is checked before it counts."""


class _Reader(FileReader):
    """As Buildbot's, but that it raises nothing either: the file ends where it cannot be read."""

    def remote_read(self, maxlength: int) -> bytes:
        """The next bytes."""
        try:
            return bytes(super().remote_read(maxlength))
        except OSError as e:
            log.err(e, "the rest of a download cannot be read")
            return b""


class Upload(Transfer):
    """Copies a file of at most `most` bytes from the worker to the master."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    async def copy(self) -> None:
        """See the class."""
        target = output.place(self.master, self.to)
        status = await self.status(self.source)
        if status is None or not stat.S_ISREG(status[0]):
            raise Refused(f"there is no file {self.source} on the worker")
        size = status[1]
        if size > self.most:
            raise Refused(f"{self.source} has {size} bytes; at most {self.most} are copied")
        await self.fetch(self.source, (size, await self.sum(self.source)), target)


class Download(Transfer):
    """Copies a file from the master to the worker."""

    async def copy(self) -> None:
        """See the class."""
        with _opened(output.place(self.master, self.source)) as file:
            expected = await threads.deferToThread(output.digest, file)
            status = await self.status(self.to)
            if status is not None and stat.S_ISDIR(status[0]):
                raise Refused(f"{self.to} is a folder on the worker")
            # Always the same name: the next try replaces what a lost worker has kept.
            part = str(PurePosixPath(self.to).with_name(output.PART))
            file.seek(0)
            args = {"maxsize": None, "blocksize": _BLOCK, "mode": None}
            try:
                await self.command("downloadFile", workerdest=part, reader=_Reader(file), **args)
                status = await self.status(part)
                if status is None or (status[1], await self.sum(part)) != expected:
                    raise Refused(f"{self.to} did not arrive on the worker as it is on the master")
                await self.printed("mv", "-f", "--", part, self.to)
            except Refused:
                await self.runCommand(
                    RemoteShellCommand(self.workdir, ["rm", "-f", "--", part], logEnviron=False)
                )
                raise


def _opened(path: Path) -> BufferedReader:
    try:
        # A pipe would have the master wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise Refused(f"{path}: {e.strerror}") from e
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is not a file")
    return os.fdopen(descriptor, "rb")
