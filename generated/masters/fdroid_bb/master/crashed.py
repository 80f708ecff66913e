# SPDX-License-Identifier: GPL-2.0-or-later
"""End the buildsets that a master which was killed has left without an end.

What Buildbot lacked: it writes the end of a buildset after that of its last request. A master that
is killed in between leaves a buildset that waits for nothing and never ends, so that nobody who
waits for it goes on. After a crash Buildbot cleans up builds and requests, but not these.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from buildbot.data.masters import Master
from twisted.internet import defer

_mend: Any = Master._masterDeactivatedHousekeeping


@defer.inlineCallbacks
def _mend_buildsets_too(masters: Master, masterid: int, name: str) -> Any:
    yield _mend(masters, masterid, name)
    master: Any = masters.master
    left = yield master.db.pool.do(_left, master.db.model)
    for bsid in left:
        yield master.data.updates.maybeBuildsetComplete(bsid)


def _left(conn: Any, model: Any) -> list[int]:
    """The buildsets that have not ended although all their requests have."""
    sets, requests = model.buildsets.c, model.buildrequests.c
    waits = (requests.buildsetid == sets.id) & (requests.complete == 0)
    found = sa.select(sets.id).where(sets.complete == 0, ~sa.exists().where(waits))
    return [row.id for row in conn.execute(found)]


# Buildbot offers no way to do more after a crash: this replaces the method.
Master._masterDeactivatedHousekeeping = _mend_buildsets_too  # type: ignore[method-assign,assignment]  # a patch
