# SPDX-License-Identifier: GPL-2.0-or-later
"""Write what other users may read into a folder of its own, whole or not at all.

What Buildbot lacked: a master that `buildbot start` makes a daemon has the umask 077, and its own
folder holds secrets. A web server, or a collector of metrics, could read nothing that it writes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any

from buildbot.util.service import BuildbotService
from twisted.internet import defer, threads
from twisted.python import log

# Whatever the umask: for all to read, for nobody to run.
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755

# What a file is called until it is whole. A dot comes first, so that no pattern matches it.
_PART = ".fdroid-bb-part-"


class Output(BuildbotService):
    """Says where the output directory is: `path` is absolute, or relative to the base directory.

    It is made when the master starts, and the base directory is closed to other users.
    """

    name = "output"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def checkConfig(self, path: str) -> None:
        """Nothing to check."""

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, path: str
    ) -> defer.Deferred[None]:
        """Make the folder."""
        return threads.deferToThread(_prepare, Path(self.master.basedir), folder(self.master))


def folder(master: Any) -> Path:
    """The output directory of a master."""
    output = master.config.services[Output.name]
    return Path(os.path.normpath(Path(master.basedir, output.path)))


def write(master: Any, relative: str, text: str) -> None:
    """Write a file of the output directory. Blocks: call it in a thread."""
    with Part(folder(master) / relative) as part:
        part.file.write(text.encode())
        part.commit()


class Part:
    """A file that is being written beside `target`, which it replaces with `commit`.

    As a context manager it leaves nothing behind where that is not called.
    """

    def __init__(self, target: Path) -> None:
        make_folder(target.parent)
        self.target = target
        self.path = target.with_name(_PART + secrets.token_hex(8))
        # Not for others before it is whole.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.file = os.fdopen(descriptor, "wb")

    def commit(self) -> None:
        """Put it in its place once it is on the disk. OSError where the disk is full."""
        self.file.flush()
        os.fchmod(self.file.fileno(), _FILE_MODE)
        os.fsync(self.file.fileno())
        self.file.close()
        self.path.replace(self.target)

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is still in the buffer of a full disk cannot be written, and need not.
        with contextlib.suppress(OSError):
            self.file.close()
        self.path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, for all to enter."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        # Another thread was faster, or it is no folder, which the caller then hears.
        return
    path.chmod(_FOLDER_MODE)


def _prepare(basedir: Path, output: Path) -> None:
    resolved = output.resolve()
    if resolved.is_relative_to(basedir.resolve()) or basedir.resolve().is_relative_to(resolved):
        raise ValueError(f"the output directory {output} and {basedir} must lie beside each other")
    # `state.sqlite` holds what sessions are signed with.
    if basedir.stat().st_mode & 0o077:
        log.msg(f"{basedir} was open to other users; now it is not")
        basedir.chmod(0o700)
    make_folder(output)
