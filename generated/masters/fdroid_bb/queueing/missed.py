# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes that were stored, and that no scheduler has seen.

What Buildbot lacked: it stores a change, says so to whoever sent it, and only then tells its
schedulers. A master that is killed in between, or a scheduler that is being given other arguments
just then, never looks at that change.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from buildbot.schedulers.basic import AnyBranchScheduler
from twisted.internet import defer

# Where a scheduler was with the changes, in its state: the number of the last. No app is named so.
SEEN = "changes-seen"

# After how many changes that do not concern it a scheduler notes where it is.
_STRIDE = 100


class NoChangeMissed(AnyBranchScheduler):
    """Looks, when it begins to listen, at the changes since the last one that it has dealt with.

    A change that was dealt with in the moment of a crash is looked at twice.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        # Those that came while it looked, and those that it found: each counts once.
        self._taken: set[int] = set()
        self._looking = False

    @defer.inlineCallbacks
    def startConsumingChanges(self, *args: Any, **kwargs: Any) -> Any:
        """Listen, and make up for what was missed."""
        self._taken.clear()
        self._looking = True
        yield super().startConsumingChanges(*args, **kwargs)
        newest = yield self.master.db.pool.do(self._newest)
        # Of the changes before its first start none is its own.
        seen = yield self.getState(SEEN, newest)
        for changeid in (yield self.master.db.pool.do(self._after, seen)):
            yield self._changeCallback(
                None,
                {"changeid": changeid},
                kwargs.get("fileIsImportant"),
                kwargs.get("change_filter"),
                kwargs.get("onlyImportant", False),
            )
        self._looking = False
        yield self._change_consumption_lock.run(self._note, newest)

    @defer.inlineCallbacks
    def _enabledCallback(self, key: Any, msg: dict[str, Any]) -> Any:
        """Who is switched on again on the web page has missed nothing: it was not to listen."""
        if msg["enabled"] and not self.enabled:
            newest = yield self.master.db.pool.do(self._newest)
            yield self._note(newest)
        yield super()._enabledCallback(key, msg)

    @defer.inlineCallbacks
    def _changeCallback(self, key: Any, msg: dict[str, Any], *filters: Any) -> Any:
        changeid = msg["changeid"]
        if changeid in self._taken:
            return
        if self._looking:
            self._taken.add(changeid)
        yield super()._changeCallback(key, msg, *filters)
        if changeid % _STRIDE == 0:
            # After what it may have asked for, which is waiting for this lock.
            yield self._change_consumption_lock.run(self._note, changeid)

    @defer.inlineCallbacks
    def gotChange(self, change: Any, important: bool) -> Any:
        """Ask for what the change asks for, then note that this is done."""
        yield super().gotChange(change, important)
        yield self._note(change.number)

    @defer.inlineCallbacks
    def _note(self, changeid: int) -> Any:
        seen = yield self.getState(SEEN, -1)
        if changeid > seen:
            yield self.setState(SEEN, changeid)

    def _newest(self, conn: Any) -> int:
        newest = sa.select(sa.func.max(self.master.db.model.changes.c.changeid))
        return conn.execute(newest).scalar() or 0

    def _after(self, conn: Any, seen: int) -> list[int]:
        ids = self.master.db.model.changes.c.changeid
        found = conn.execute(sa.select(ids).where(ids > seen).order_by(ids))
        return [row.changeid for row in found]
