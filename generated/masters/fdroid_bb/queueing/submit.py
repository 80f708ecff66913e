# SPDX-License-Identifier: GPL-2.0-or-later
"""Take submitted changes, with a password that local programs find in a file.

What Buildbot lacked: the password must be in its configuration, and whoever submits has to be
told. fdroidserver reads it from a fixed path below `/tmp`, a folder in which anybody may have
put anything before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from buildbot.changes.pb import PBChangeSource
from buildbot.process.properties import Properties
from buildbot.util import ComparableMixin
from twisted.internet import defer
from twisted.internet.error import CannotListenError
from twisted.python import log

from ..common.process import describe
from .unheard import Perspective, Unheard

# Seconds after which a port that could not be opened is tried again.
RETRY = 10.0


class SubmitSource(PBChangeSource):
    """As Buildbot's, but that changes which no scheduler takes are logged.

    `password_file` gets the password, if given; it is a new one if `passwd` is None.

    While the file cannot be written or the port not be opened, `problem` says why, and it is tried
    again until it can.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("password_file",)

    def __init__(
        self, *, port: str, user: str, password_file: str | None = None, passwd: Any = None
    ) -> None:
        # No application id has a `-`, so this is no app's name.
        super().__init__(user=user, passwd=passwd, port=port, name="submitted-changes")
        self.password_file = password_file
        self.problem: str | None = None
        self._unheard = Unheard()
        self._made = secrets.token_urlsafe(32)
        self._again: Any = None
        self._lock = defer.DeferredLock()

    def canReconfigWithSibling(self, sibling: Any) -> bool:
        """Buildbot's takes another port while it runs, but no other user, password or file."""
        can = super().canReconfigWithSibling(sibling)
        return bool(can and ComparableMixin.isEquivalent(self, sibling))

    def getPerspective(self, mind: Any, username: str) -> Perspective:
        """What a sender who has logged in may do."""
        return Perspective(self.master, self.prefix, self._unheard)

    def _register(self, port: int | str | None) -> defer.Deferred[None]:
        return self._lock.run(lambda: defer.ensureDeferred(self._listen(port)))

    def _unregister(self) -> defer.Deferred[None]:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        return self._lock.run(super()._unregister)

    async def _listen(self, port: int | str | None) -> None:
        self.registered_port = port
        try:
            await self._open(port)
        except Exception as e:  # whatever it is: an exception of here would only reach the log
            self.problem = describe(e)
            log.msg(f"SubmitSource: {self.problem}; tried again in {RETRY:g} s")
            self._again = self.master.reactor.callLater(RETRY, self._try_again, port)
        else:
            self.problem = None

    def _try_again(self, port: int | str | None) -> None:
        self._again = None
        self._register(port)

    async def _open(self, port: int | str | None) -> None:
        password = self._made
        if self.passwd is not None:
            properties = Properties()
            properties.master = self.master
            password = await properties.render(self.passwd)
        # Before the port is open, so that whoever finds it open finds the password.
        if self.password_file is not None:
            write_private(self.password_file, password)
        manager = self.master.pbmanager
        try:
            self.registration = await manager.register(
                port, self.user, password, self.getPerspective
            )
        except CannotListenError:
            _forget_closed(manager)
            raise


def _forget_closed(manager: Any) -> None:
    """Take away what Buildbot leaves of a port that it could not open.

    It would take the next user of that port for its own and never open it, and it could not stop.
    """
    closed = {key: d for key, d in manager.dispatchers.items() if d.port is None}
    for key, dispatcher in closed.items():
        del manager.dispatchers[key]
        manager.services.remove(dispatcher)
        dispatcher.parent = None


def write_private(path: str, text: str) -> None:
    """Write a file that only this user can read, in a folder that only this user can enter.

    PermissionError if the folder is somebody else's or open to others: in `/tmp`, whoever came
    first may have put it there. No link is followed, and nothing is looked up twice.
    """
    folder, name = os.path.split(path)
    with contextlib.suppress(FileExistsError):
        Path(folder).mkdir(mode=0o700)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as e:
        raise PermissionError(f"{folder} is no folder: delete it") from e
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(
                f"{folder} belongs to another user or is open to others: nothing was written "
                "there; look who made it, then delete it"
            )
        new = f".{name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(new, flags, 0o600, dir_fd=fd), "w") as file:
            file.write(f"{text}\n")
        os.replace(new, name, src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)
