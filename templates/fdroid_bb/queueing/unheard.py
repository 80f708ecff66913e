# SPDX-License-Identifier: GPL-2.0-or-later
"""Take submitted changes that are within limits, and log those that no scheduler takes.

What Buildbot lacked: it stores whatever it is sent, thousands of properties or a branch of what
strangers have asked to be merged, and of a change that no scheduler takes its sender is told that
all is well. A mistyped category is noticed when somebody misses the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from buildbot.changes.pb import ChangePerspective
from buildbot.process.properties import Properties
from buildbot.util.twisted import async_to_deferred
from twisted.internet import defer
from twisted.python import log
from twisted.spread import pb

from ..common import pauses
from ..common.process import printable
from .known import known
from .last_build import last_builds, problems

# Seconds in which a category is logged once.
_AGAIN = 3600.0

# Categories that are logged in that time; of more only that there are some.
_MOST = 50

_OTHERS = "(others)"

# What one change may have: fdroidserver's have six properties and one file.
_MOST_PROPERTIES = 50
_MOST_FILES = 1_000
_LONGEST = 65_536  # characters of all of it, as Python writes it


class Unheard:
    """Which categories were logged, and when."""

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def is_news(self, category: str, now: float) -> str | None:
        """What to log of the category, if anything."""
        self._logged = {name: at for name, at in self._logged.items() if now - at < _AGAIN}
        known = category in self._logged or len(self._logged) < _MOST
        name = category if known else _OTHERS
        if name in self._logged:
            return None
        self._logged[name] = now
        return name


class Perspective(ChangePerspective):
    """Takes changes as Buildbot's does, logs those that no scheduler takes, and answers what is
    known of earlier ones.
    """

    def __init__(self, master: Any, prefix: str | None, unheard: Unheard) -> None:
        super().__init__(master, prefix)
        self._unheard = unheard

    @defer.inlineCallbacks
    def perspective_addChange(self, changedict: dict[str, Any]) -> Any:
        """Take a change from the network. Its sender is told why one is refused."""
        if why := _refusal(changedict):
            log.msg(f"submit: a change is refused: {why}")
            raise pb.Error(f"refused: {why}")
        # Buildbot's own makes text of bytes in it.
        yield super().perspective_addChange(changedict)
        if _is_heard(self.master, changedict):
            return
        category = printable(str(changedict.get("category") or "(none)"), 60)
        if name := self._unheard.is_news(category, self.master.reactor.seconds()):
            log.msg(
                f"submit: no scheduler takes changes of category `{name}` with the properties of "
                f"this one, of project `{printable(str(changedict.get('project')), 100)}`; logged "
                f"once in {_AGAIN:.0f} s"
            )

    def perspective_known(self, category: str, versions: list[str]) -> defer.Deferred[Any]:
        """What is known of versions of apps, and what is paused."""
        rows = defer.ensureDeferred(known(self.master, category, versions))
        return rows.addCallback(lambda rows: [rows, pauses.told(self.master)])

    @async_to_deferred
    async def perspective_last_builds(self, category: str, versions: list[str]) -> Any:
        """How builds of versions of apps ended, and what keeps all from being built."""
        rows = await last_builds(self.master, category, versions)
        return [rows, await problems(self.master, category)]


def _refusal(change: Mapping[str, Any]) -> str | None:
    """Why a change is not taken, before it costs anything."""
    properties, files = change.get("properties") or {}, change.get("files") or []
    if len(properties) > _MOST_PROPERTIES:
        return f"it has {len(properties)} properties, and {_MOST_PROPERTIES} are the most"
    if len(files) > _MOST_FILES:
        return f"it has {len(files)} files, and {_MOST_FILES} are the most"
    if (length := len(repr(change))) > _LONGEST:
        return f"it has {length} characters, and {_LONGEST} are the most"
    branch = change.get("branch") or ""
    text = branch.decode("utf-8", "replace") if isinstance(branch, bytes) else str(branch)
    if text.startswith("refs/"):
        return (
            f"`{printable(text, 100)}` is no branch, but may be what a stranger asks to be merged"
        )
    link = str(change.get("revlink") or "")
    if link and not link.startswith(("https://", "http://")):
        return f"`{printable(link, 100)}` is not the address of a web page"
    return None


def _is_heard(master: Any, changedict: Mapping[str, Any]) -> bool:
    properties = Properties()
    # To keep it, Buildbot has put beside each value where it is from.
    for name, (value, source) in (changedict.get("properties") or {}).items():
        properties.setProperty(name, value, source)
    change = SimpleNamespace(**{**changedict, "properties": properties})
    filters = [
        scheduler.change_filter
        for scheduler in master.allSchedulers()
        # Others have a filter, maybe, but wait for no change.
        if getattr(scheduler, "_change_consumer", None) is not None
    ]
    return any(found is None or found.filter_change(change) for found in filters)
