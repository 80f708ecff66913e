# SPDX-License-Identifier: GPL-2.0-or-later
"""Write what other users may read into a folder of its own, whole or not at all.

What Buildbot lacked: a master that `buildbot start` makes a daemon has the umask 077, and its own
folder holds secrets. A web server, or a collector of metrics, could read nothing that it writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from io import BufferedReader
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from buildbot.util.service import BuildbotService
from twisted.internet import defer, threads
from twisted.python import log

# Whatever the umask: for all to read, for nobody to run.
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755

# How a name begins until the file or folder is whole. With a dot, so that no pattern matches it.
PART = ".fdroid-bb-part-"

# Tells what this process writes from what one that was killed has left.
_RUN = secrets.token_hex(4)


class Refused(Exception):
    """Something that is not done, and why."""


class Output(BuildbotService):
    """Says where the output directory is: `path` is absolute, or relative to the base directory.

    When the master starts, the folder is made and cleared of what is not whole, and the base
    directory is closed to other users.
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


def place(master: Any, relative: str) -> Path:
    """A path of the output directory. Refused where it leads out of it."""
    path = PurePosixPath(relative)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in relative:
        raise Refused(f"{relative!a} is not a path below the output directory")
    return folder(master) / path


def digest(file: BufferedReader) -> tuple[int, str]:
    """Size and SHA-256 of what follows in a file."""
    begin = file.tell()
    found = hashlib.file_digest(file, "sha256").hexdigest()
    return file.tell() - begin, found


def part_of(target: Path) -> Path:
    """A name beside `target` for what is not whole yet."""
    return target.with_name(f"{PART}{_RUN}-{secrets.token_hex(4)}")


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
        self.path = part_of(target)
        # Not for others before it is whole.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.file = os.fdopen(descriptor, "wb")

    def commit(self, expected: tuple[int, str] | None = None) -> None:
        """Put it in its place once it is on the disk. OSError where the disk is full, Refused where
        what is there has not the `expected` size and SHA-256.
        """
        self.file.flush()
        os.fchmod(self.file.fileno(), _FILE_MODE)
        os.fsync(self.file.fileno())
        self.file.close()
        if expected is not None:
            with self.path.open("rb") as written:
                found = digest(written)
            if found != expected:
                raise Refused(
                    f"{self.target.name} did not arrive as it was sent: {_shown(found)}"
                    f" instead of {_shown(expected)}"
                )
        self.path.replace(self.target)
        sync(self.target.parent)

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


def _shown(size_and_sum: tuple[int, str]) -> str:
    return f"{size_and_sum[0]} bytes, sha256:{size_and_sum[1][:12]}"


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


def sync(path: Path) -> None:
    """Have what was renamed in a folder survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(basedir: Path, output: Path) -> None:
    resolved = output.resolve()
    if resolved.is_relative_to(basedir.resolve()) or basedir.resolve().is_relative_to(resolved):
        raise ValueError(f"the output directory {output} and {basedir} must lie beside each other")
    # `state.sqlite` holds what sessions are signed with.
    if basedir.stat().st_mode & 0o077:
        log.msg(f"{basedir} was open to other users; now it is not")
        basedir.chmod(0o700)
    # `fdroid-bb apply --metrics` writes there too.
    make_folder(output / "metrics")
    _clear(output)


def _clear(output: Path) -> None:
    """Delete what a master that was killed has begun."""
    for folder, folders, files in os.walk(output):
        for name in (*folders, *files):
            if name.startswith(PART) and not name.startswith(f"{PART}{_RUN}-"):
                path = Path(folder, name)
                shutil.rmtree(path) if name in folders else path.unlink(missing_ok=True)
        folders[:] = [name for name in folders if not name.startswith((PART, ".git"))]
