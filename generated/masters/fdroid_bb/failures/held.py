# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests whose builds failed by the infrastructure's fault: how often, and when they run again.

The database knows from the builds themselves, so nothing is lost by a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from twisted.internet import defer

from ..common import blame


class Held:
    """Those of one master."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._turn = defer.DeferredLock()
        self._loaded = False
        self._timers: dict[int, Any] = {}

    async def is_held(self, request: int, pauses: Sequence[int]) -> bool:
        """Tell whether its pause goes on, of these one after each failure."""
        if not self._loaded:
            await self._turn.run(lambda: defer.ensureDeferred(self._load(pauses)))
        return request in self._timers

    async def failures(self, request: int) -> int:
        """The number of its builds that have failed so."""
        model = self._master.db.model
        builds = model.builds.c
        query = sa.select(sa.func.count()).where(
            builds.buildrequestid == request, builds.id.in_(blame.infrastructures(model))
        )
        return int(await self._master.db.pool.do(lambda conn: conn.scalar(query)))

    def hold(self, request: int, seconds: float) -> None:
        """Start no build of it for so long."""
        reactor = self._master.reactor
        self._timers[request] = reactor.callLater(max(0, seconds), self._release, request)

    def stop(self) -> None:
        """Forget them all."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _release(self, request: int) -> None:
        del self._timers[request]
        self._master.botmaster.maybeStartBuildsForAllBuilders()

    async def _load(self, pauses: Sequence[int]) -> None:
        """Go on with the pauses of the last run."""
        if self._loaded:
            return
        rows = await self._master.db.pool.do(_read, self._master.db.model)
        now = self._master.reactor.seconds()
        for request, failures, ended in rows:
            if request not in self._timers and failures <= len(pauses):
                self.hold(request, ended + pauses[failures - 1] - now)
        self._loaded = True


def _read(conn: sa.Connection, model: Any) -> list[Any]:
    """The requests that wait, with the number of failures and when the last was."""
    builds, requests = model.builds.c, model.buildrequests.c
    query = (
        sa.select(builds.buildrequestid, sa.func.count(), sa.func.max(builds.complete_at))
        .select_from(model.builds.join(model.buildrequests, requests.id == builds.buildrequestid))
        .where(
            requests.complete == 0,
            builds.complete_at.is_not(None),
            builds.id.in_(blame.infrastructures(model)),
        )
        .group_by(builds.buildrequestid)
    )
    return list(conn.execute(query))
