# SPDX-License-Identifier: GPL-2.0-or-later
"""Copy a folder from the worker to the master, whole or not at all.

What Buildbot lacked: it unpacks an archive of the worker's over what there is, and leaves what it
has got when that ends half way. Here each file is copied and checked by itself.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet import threads

from ..common import output
from ..common.output import Refused
from .transfer import Transfer

# What a folder may hold: files and folders, and folders in each other.
_MOST_ENTRIES = 10_000
_DEEPEST = 32

_RENAME_EXCHANGE = 2

# What `stat -c "%f %s %n"` prints: mode, size, name.
_ENTRY = re.compile(r"([0-9a-f]+) ([0-9]+) (.+)")


class _Folder(NamedTuple):
    """What is in a folder of the worker; files with their size and SHA-256."""

    folders: list[str]
    files: dict[str, tuple[int, str]]


class UploadFolder(Transfer):
    """The files have at most `most` bytes together. The folder replaces the one that is there."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    async def copy(self) -> None:
        """See the class."""
        target = output.place(self.master, self.to)
        if target.exists() and not target.is_dir():
            raise Refused(f"{target} is not a folder")
        status = await self.status(self.source)
        if status is None or not stat.S_ISDIR(status[0]):
            raise Refused(f"there is no folder {self.source} on the worker")
        # Nothing that begins with a dash, which `find` would take for an option. The last slash
        # has it follow a link.
        top = self.source if self.source.startswith("/") else f"./{self.source}"
        top = f"{top.rstrip('/')}/"
        found = await self._list(top)
        part = output.part_of(target)
        output.make_folder(part)
        try:
            for name in found.folders:
                output.make_folder(part / name)
            for name, expected in found.files.items():
                await self.fetch(f"{top}{name}", expected, part / name)
            await threads.deferToThread(_exchange, part, target)
        finally:
            # What was there before, or what failed.
            await threads.deferToThread(shutil.rmtree, part, ignore_errors=True)

    async def _list(self, top: str) -> _Folder:
        entries = await self.printed("find", top, "-exec", "stat", "-c", "%f %s %n", "{}", "+")
        sums = await self.sums("find", top, "-type", "f", "-exec", "sha256sum", "{}", "+")
        room = self.most
        found = _Folder([], {})
        for line in entries:
            entry = _ENTRY.fullmatch(line)
            name = _checked(entry[3], top) if entry is not None else None
            if entry is None or name is None:
                raise Refused(f"{ascii(line)[: _DEEPEST * 8]} is no name for a file of a folder")
            mode, size = int(entry[1], 16), int(entry[2])
            if stat.S_ISDIR(mode):
                found.folders.append(name)
            elif stat.S_ISREG(mode) and entry[3] in sums:
                found.files[name] = (size, sums[entry[3]])
                room -= size
            else:
                raise Refused(f"{name} is neither a file nor a folder, or has changed meanwhile")
        if len(found.folders) + len(found.files) > _MOST_ENTRIES:
            raise Refused(f"{self.source} has more than {_MOST_ENTRIES} files and folders")
        if room < 0:
            raise Refused(f"{self.source} has more than {self.most} bytes")
        return found


def _checked(path: str, top: str) -> str | None:
    """The path below `top`, empty for `top` itself; None if it leads elsewhere or is not text."""
    name = path.removeprefix(top)
    parts = name.split("/") if name else []
    good = (
        path.startswith(top)
        and len(parts) <= _DEEPEST
        and all(part not in ("", ".", "..") for part in parts)
        and not any(part.startswith(output.PART) for part in parts)
        and name.isprintable()
    )
    return name if good else None


def _exchange(new: Path, old: Path) -> None:
    """Rename `new` to `old`, and `old`, if it is there, to `new`, in one step."""
    if not old.exists():
        new.rename(old)
    else:
        libc = ctypes.CDLL(None, use_errno=True)
        at_cwd = -100
        names = (at_cwd, os.fsencode(new), at_cwd, os.fsencode(old))
        if libc.renameat2(*names, _RENAME_EXCHANGE) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(old))
    output.sync(old.parent)
