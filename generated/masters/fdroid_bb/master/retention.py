# SPDX-License-Identifier: GPL-2.0-or-later
"""Delete builds, their logs and the changes that led to them once they are old.

What Buildbot lacked: its janitor deletes the text of logs alone, all of a day in one transaction
during which no build can go on; builds, properties and changes it keeps for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.util.service import BuildbotService
from twisted.internet import defer, task
from twisted.python import log

# Seconds from the start to the first look, and from one to the next.
FIRST = 600.0
EVERY = 6 * 3600.0

# What is looked at in one transaction, and the seconds in which others have the database then.
_ROWS = 200
_MANY = 5_000  # where rows are only counted off
_PAUSE = 0.2


class Retention(BuildbotService):
    """Keeps the logs of builds for `logs` seconds, and the builds for `builds` seconds from their
    end; those of a builder in `builders` for as long as that says. What has not ended is kept.
    """

    name = "retention"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._running: defer.Deferred[None] | None = None

    def checkConfig(
        self, *, logs: float, builds: float, builders: Mapping[str, float] | None = None
    ) -> None:
        """Nothing to check."""

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, *, logs: float, builds: float, builders: Mapping[str, float] | None = None
    ) -> defer.Deferred[None]:
        """Take the ages."""
        self._logs = logs
        self._builds = builds
        self._builders = dict(builders or {})
        return defer.succeed(None)

    def startService(self) -> Any:
        """Delete from now on."""
        self._running = defer.ensureDeferred(self._run())
        self._running.addErrback(lambda why: why.trap(defer.CancelledError))
        return super().startService()

    def stopService(self) -> Any:
        """Delete no longer; what is being deleted is."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        return super().stopService()

    async def _run(self) -> None:
        reactor = self.master.reactor
        await task.deferLater(reactor, FIRST)
        while True:
            try:
                await self._look()
            except Exception as e:  # a database that is away now may be there the next time
                log.err(e, "while deleting old builds")
            await task.deferLater(reactor, EVERY)

    async def _look(self) -> None:
        now = self.master.reactor.seconds()
        ages = {
            await self.master.db.builders.findBuilderId(name): age
            for name, age in self._builders.items()
        }
        old = _Old(self.master.db.model, now - self._logs, now - self._builds, now, ages)
        builds = await self._all(old.buildsets)
        changes = await self._all(old.changes)
        logs = old.muted
        if builds + changes:
            for stamps in (old.stamps, old.used_stamps, old.unused_stamps):
                await self._all(stamps)
        if builds + changes + logs:
            log.msg(
                f"retention: deleted {builds} builds, {changes} changes, and {logs} logs of others"
            )

    async def _all(self, delete: Callable[[Any, int], tuple[int | None, int]]) -> int:
        """Go through a table, piece by piece; how much was deleted."""
        last: int | None = -1
        deleted = 0
        while last is not None:
            last, count = await self.master.db.pool.do(delete, last)
            deleted += count
            await task.deferLater(self.master.reactor, _PAUSE)
        return deleted


class _Old:
    """What is old, by tables. All times are in seconds since 1970.

    Each method looks at some rows behind the one of the given number: the number of the last one
    that it has seen, None if there are no more that could be old, and how much was deleted.
    """

    def __init__(
        self, model: Any, logs: float, builds: float, now: float, ages: Mapping[int, float]
    ) -> None:
        self._model = model
        self._logs = logs
        self._builds = builds
        self._horizons = {builder: now - age for builder, age in ages.items()}
        # Logs whose text was deleted, while the build is still there.
        self.muted = 0
        # Old source stamps that no build was found to have, among all up to that row.
        self._stamps: set[int] = set()
        self._seen = -1

    def buildsets(self, connection: Any, after: int) -> tuple[int | None, int]:
        """Builds with all that belongs to them, and the text of logs."""
        table = self._model.buildsets
        rows = connection.execute(
            sa.select(table.c.id, table.c.complete, table.c.complete_at, table.c.submitted_at)
            .where(table.c.id > after)
            .order_by(table.c.id)
            .limit(_ROWS)
        ).fetchall()
        newest = max([self._logs, self._builds, *self._horizons.values()])
        if not rows or rows[0].submitted_at > newest:
            return None, 0
        ended = {
            row.id: row.complete_at for row in rows if row.complete and row.complete_at is not None
        }
        builders: dict[int, set[int]] = {number: set() for number in ended}
        requests = self._model.buildrequests
        for row in self._rows(connection, requests, requests.c.buildsetid, list(ended)):
            builders[row.buildsetid].add(row.builderid)
        old = [
            number
            for number, at in ended.items()
            if all(at < self._horizons.get(b, self._builds) for b in builders[number] or {0})
        ]
        mute = [number for number, at in ended.items() if at < self._logs and number not in old]
        deleted = self._delete_builds(connection, old)
        self.muted += self._delete_logs(connection, self._logs_of(connection, mute))
        connection.commit()
        return rows[-1].id, deleted

    def changes(self, connection: Any, after: int) -> tuple[int | None, int]:
        """Changes, whether or not a build came of them."""
        table = self._model.changes
        rows = connection.execute(
            sa.select(table.c.changeid, table.c.when_timestamp)
            .where(table.c.changeid > after)
            .order_by(table.c.changeid)
            .limit(_ROWS)
        ).fetchall()
        if not rows or rows[0].when_timestamp > self._builds:
            return None, 0
        old = [row.changeid for row in rows if row.when_timestamp < self._builds]
        model = self._model
        for child in (
            model.change_files,
            model.change_properties,
            model.change_users,
            model.scheduler_changes,
        ):
            self._delete(connection, child.c.changeid, old)
        self._forget(connection, table.c.parent_changeids, old)
        self._delete(connection, table.c.changeid, old)
        connection.commit()
        return rows[-1].changeid, len(old)

    def stamps(self, connection: Any, after: int) -> tuple[int | None, int]:
        """Find source stamps that are old. Builds of now may have them, too."""
        table = self._model.sourcestamps
        rows = connection.execute(
            sa.select(table.c.id)
            .where(table.c.id > after, table.c.created_at < self._builds)
            .order_by(table.c.id)
            .limit(_MANY)
        ).fetchall()
        self._stamps.update(row.id for row in rows)
        return (rows[-1].id if rows else None), 0

    def used_stamps(self, connection: Any, after: int) -> tuple[int | None, int]:
        """Leave those that a build has. No index would tell which."""
        table = self._model.buildset_sourcestamps
        rows = connection.execute(
            sa.select(table.c.id, table.c.sourcestampid)
            .where(table.c.id > after)
            .order_by(table.c.id)
            .limit(_MANY)
        ).fetchall()
        self._stamps.difference_update(row.sourcestampid for row in rows)
        self._seen = max(self._seen, after)
        return (rows[-1].id if rows else None), 0

    def unused_stamps(self, connection: Any, after: int) -> tuple[int | None, int]:
        """Delete those that neither a build nor a change has, nor one that has come meanwhile."""
        model, some = self._model, sorted(self._stamps)[:_ROWS]
        self._stamps.difference_update(some)
        table = model.buildset_sourcestamps
        new = connection.execute(sa.select(table.c.sourcestampid).where(table.c.id > self._seen))
        used = {row.sourcestampid for row in new.fetchall()}
        column = model.changes.c.sourcestampid
        used.update(
            row.sourcestampid for row in self._rows(connection, model.changes, column, some)
        )
        left = [stamp for stamp in some if stamp not in used]
        rows = self._rows(connection, model.sourcestamps, model.sourcestamps.c.id, left)
        self._delete(connection, model.sourcestamps.c.id, left)
        patches = [row.patchid for row in rows if row.patchid is not None]
        self._delete(connection, model.patches.c.id, patches)
        connection.commit()
        return (after + 1 if self._stamps else None), len(left)

    def _delete_builds(self, connection: Any, buildsets: Sequence[int]) -> int:
        model = self._model
        requests = self._ids(connection, model.buildrequests, "buildsetid", buildsets)
        builds = self._ids(connection, model.builds, "buildrequestid", requests)
        self._delete_logs(connection, self._logs_of(connection, buildsets), whole=True)
        sets = self._ids(connection, model.test_result_sets, "buildid", builds)
        self._delete(connection, model.test_results.c.test_result_setid, sets)
        for column in (
            model.test_result_sets.c.buildid,
            model.steps.c.buildid,
            model.build_properties.c.buildid,
            model.build_data.c.buildid,
        ):
            self._delete(connection, column, builds)
        self._delete(connection, model.builds.c.id, builds)
        self._delete(connection, model.buildrequest_claims.c.brid, requests)
        self._delete(connection, model.buildrequests.c.id, requests)
        # Builds that these have triggered name them still, in SQLite: by numbers of nobody else's.
        for column in (
            model.buildset_sourcestamps.c.buildsetid,
            model.buildset_properties.c.buildsetid,
            model.buildsets.c.id,
        ):
            self._delete(connection, column, buildsets)
        return len(builds)

    def _logs_of(self, connection: Any, buildsets: Sequence[int]) -> list[int]:
        model = self._model
        requests = self._ids(connection, model.buildrequests, "buildsetid", buildsets)
        builds = self._ids(connection, model.builds, "buildrequestid", requests)
        steps = self._ids(connection, model.steps, "buildid", builds)
        rows = self._rows(connection, model.logs, model.logs.c.stepid, steps)
        # `d`: deleted already.
        return [row.id for row in rows if row.type != "d"]

    def _delete_logs(self, connection: Any, logs: Sequence[int], whole: bool = False) -> int:
        model = self._model
        self._delete(connection, model.logchunks.c.logid, logs)
        for some in _pieces(logs):
            found = model.logs.c.id.in_(some)
            gone = model.logs.delete() if whole else model.logs.update().values(type="d")
            connection.execute(gone.where(found))
        return len(logs)

    def _ids(self, connection: Any, table: Any, column: str, values: Sequence[int]) -> list[int]:
        return [row.id for row in self._rows(connection, table, table.c[column], values)]

    def _rows(self, connection: Any, table: Any, column: Any, values: Sequence[int]) -> list[Any]:
        rows: list[Any] = []
        for some in _pieces(values):
            rows += connection.execute(sa.select(table).where(column.in_(some))).fetchall()
        return rows

    def _delete(self, connection: Any, column: Any, values: Sequence[int]) -> None:
        for some in _pieces(values):
            connection.execute(column.table.delete().where(column.in_(some)))

    def _forget(self, connection: Any, column: Any, values: Sequence[int]) -> None:
        for some in _pieces(values):
            forget = column.table.update().where(column.in_(some)).values({column.name: None})
            connection.execute(forget)


def _pieces(values: Sequence[int]) -> list[Sequence[int]]:
    """As many at a time as every database takes in one statement."""
    return [values[start : start + _ROWS] for start in range(0, len(values), _ROWS)]
