# SPDX-License-Identifier: GPL-2.0-or-later
"""From changes to requests that wait: one for each change, or one for many.

What Buildbot lacked: two changes at the same commit are one source stamp to it, and both builds get
the properties of the newer change, so that of two versions of an app one is built twice and the
other never. Its timer that waits for further changes runs for each branch, not for each app, and
forgets the changes of others. And it calls requests equal without looking at their properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from buildbot.process.properties import Properties
from buildbot.util import ComparableMixin
from twisted.internet import defer

from .missed import NoChangeMissed

# Buildsets whose properties are kept in memory.
_MOST_KNOWN = 20_000


class ChangeScheduler(NoChangeMissed):
    """Asks for a build for each change, with that change's own properties.

    With `treeStableTimer` it waits so many seconds for further changes of the same project, and
    asks for one build for all of them.
    """

    def addBuildsetForChanges(  # type: ignore[override]  # of its arguments, those used here
        self, *, reason: str, changeids: Sequence[int], priority: int | None = None
    ) -> defer.Deferred[Any]:
        """Ask for a build of the newest of the changes.

        It has the properties of them all; of those with one name the newest.
        """
        return defer.ensureDeferred(self._add_buildset(reason, sorted(changeids), priority or 0))

    async def _add_buildset(self, reason: str, changeids: Sequence[int], priority: int) -> Any:
        properties = Properties()
        for changeid in changeids:
            change = await self.master.db.changes.getChange(changeid)
            for name, (value, _) in change.properties.items():
                properties.setProperty(name, value, "Change")
        return await self._request(change.sourcestampid, properties, reason, priority)

    async def _request(
        self, stamp: int | dict[str, Any], properties: Properties, reason: str, priority: int
    ) -> tuple[int, dict[int, int]]:
        """Ask for builds of a source stamp, which is given by its id or made: the id of the
        buildset, and those of the requests by the ids of their builders.
        """
        properties.updateFromProperties(self.properties)
        updates = self.master.data.updates
        found: tuple[int, dict[int, int]] = await updates.addBuildset(
            scheduler=self.name,
            sourcestamps=[stamp],
            reason=reason,
            waited_for=False,
            properties=await properties.render(properties.asDict()),
            # Not by a list of all builders, which has the page of each app.
            builderids=[await updates.findBuilderId(name) for name in self.builderNames],
            external_idstring=None,
            priority=priority,
        )
        return found

    def getTimerNameForChange(self, change: Any) -> str:
        """One timer for each app."""
        return str(change.project)

    def getChangeClassificationsForTimer(self, sched_id: int | None, timer_name: str) -> Any:
        """Those that wait for this timer."""
        return self.master.db.schedulers.getChangeClassifications(sched_id, project=timer_name)

    def stableTimerFired(self, timer_name: str) -> defer.Deferred[None]:
        """Ask for the build, then forget these changes and no others."""
        return self._stable_timers_lock.run(lambda: defer.ensureDeferred(self._settled(timer_name)))

    async def _settled(self, timer_name: str) -> None:
        if self._stable_timers.pop(timer_name, None) is None:
            # The scheduler was stopped in the meantime.
            return
        waiting = await self.getChangeClassificationsForTimer(self.serviceid, timer_name)
        if not waiting:
            return
        await self.addBuildsetForChanges(
            reason=self.reason, changeids=sorted(waiting), priority=self.priority
        )
        await self.master.db.pool.do_with_transaction(self._forget, list(waiting))

    def _forget(self, conn: Any, changeids: list[int]) -> None:
        table = self.master.db.model.scheduler_changes
        mine = (table.c.schedulerid == self.serviceid) & table.c.changeid.in_(changeids)
        conn.execute(table.delete().where(mine))


class SameProperties(ComparableMixin):
    """For `collapseRequests`: a new request takes the place of one that waits and is equal in the
    properties `names`, unless that one would come first.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("names",)

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        # By buildset, whose properties never change: thousands that wait are compared with each.
        self._values: dict[int, list[str]] = {}

    def __call__(
        self, master: Any, builder: Any, new: dict[str, Any], waiting: dict[str, Any]
    ) -> bool | defer.Deferred[bool]:
        """Tell whether the one that waits can be dropped."""
        if new["priority"] < waiting["priority"]:
            return False
        ids = (new["buildsetid"], waiting["buildsetid"])
        if all(buildset in self._values for buildset in ids):
            return _are_equal(*(self._values[buildset] for buildset in ids))
        return defer.ensureDeferred(self._same(master, *ids))

    async def _same(self, master: Any, *ids: int) -> bool:
        if len(self._values) > _MOST_KNOWN:
            self._values.clear()
        found = []
        for buildset in ids:
            given = await master.data.get(("buildsets", buildset, "properties"))
            # A form gives a number where a change has a text.
            found.append([str(given.get(name, ("",))[0]) for name in self.names])
        self._values.update(zip(ids, found, strict=True))
        return _are_equal(*found)


def _are_equal(new: list[str], waiting: list[str]) -> bool:
    return new == waiting and "" not in new
