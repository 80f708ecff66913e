# SPDX-License-Identifier: GPL-2.0-or-later
"""Apps that are due: their source has changed, or the time has come, and no check has succeeded.

What Buildbot lacked: a change makes one build, and when that fails nobody looks at it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from buildbot.process.properties import Properties
from buildbot.process.results import SKIPPED, SUCCESS, WARNINGS
from twisted.internet import defer, task, threads
from twisted.python import log

from ..common import output, placement
from ..common.saved import recalled
from .missed import SEEN
from .queue import ChangeScheduler

# The category of the changes in apps' sources, and of their pollers.
APP_SOURCE = "app-source"

WEEK, DAY = 7 * 24 * 3600, 24 * 3600

# Seconds between two looks at who is to be checked.
TICK = 60

# Seconds until a failed check is repeated, doubled each time up to a day.
FIRST_PAUSE = 10 * 60

# The priority of checks that come with time alone: lower than a description can ask for.
LOWEST = -1001

# Where the scheduler was with them, in its state beside the rows of the apps. No app is named so.
_CHECKED_UNTIL = "checked-until"

_METRICS = """\
# HELP fdroid_bb_due_apps apps whose source has changed since their last good check
# TYPE fdroid_bb_due_apps gauge
fdroid_bb_due_apps{{scheduler="{name}"}} {apps}
# HELP fdroid_bb_due_failing_apps those of them whose checks failed too often on one day
# TYPE fdroid_bb_due_failing_apps gauge
fdroid_bb_due_failing_apps{{scheduler="{name}"}} {failing}
# HELP fdroid_bb_due_written_timestamp_seconds when this was written, in Unix time
# TYPE fdroid_bb_due_written_timestamp_seconds gauge
fdroid_bb_due_written_timestamp_seconds{{scheduler="{name}"}} {now}
"""


@dataclass
class Due:
    """An app to be checked; times are in Unix time.

    `buildset` is the check that was asked for last, `stamp` the source stamp of the change, if it
    was one; `failed` counts the failures in a row, and `failures` are the last of them. While
    `again` is None a check is waiting or running.
    """

    since: float
    stamp: int | None = None
    buildset: int | None = None
    failed: int = 0
    failures: list[float] = field(default_factory=list)
    again: float | None = None

    def fail(self, now: float, per_day: int) -> None:
        """Note a failure: when to try again, so that there are no more than so many in a day."""
        self.failed += 1
        self.failures = [*self.failures, now][-per_day:]
        pause = min(FIRST_PAUSE * 2 ** min(self.failed - 1, 10), DAY)
        self.again = now + pause
        if len(self.failures) == per_day:
            self.again = max(self.again, self.failures[0] + DAY)


class AppSourceScheduler(ChangeScheduler):
    """Asks for a check of each app whose source changes, until a check has succeeded.

    A failed or lost check is repeated, at most `checksPerDay` times a day. Besides, each app that
    is polled is checked every `checkInterval` seconds, or as its poller says, at the lowest
    priority.
    """

    # Of a check that fails, by whosever fault, so that builds need not be repeated.
    asks_again = True

    def checkConfig(  # type: ignore[override]
        self, *, checksPerDay: int = 5, checkInterval: int = WEEK, **kwargs: Any
    ) -> None:
        """Take two arguments more."""
        super().checkConfig(**kwargs)

    @defer.inlineCallbacks
    def reconfigService(  # type: ignore[override]
        self, *, checksPerDay: int = 5, checkInterval: int = WEEK, **kwargs: Any
    ) -> Any:
        """Take the arguments, at the start and later."""
        self.checksPerDay = checksPerDay
        self.checkInterval = checkInterval
        yield super().reconfigService(**kwargs)

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._due: dict[str, Due] = {}
        # The app of each check under way.
        self._app_of: dict[int, str] = {}
        self._turn = defer.DeferredLock()
        self._ends: Any = None
        self._ticks: task.LoopingCall | None = None
        self._checked_until = 0.0

    @defer.inlineCallbacks
    def activate(self) -> Any:
        """Go on where the last run ended."""
        if self._ticks is None:
            yield self._in_turn(self._load())
            self._ends = yield self.master.mq.startConsuming(
                self._build_ended, ("buildsets", None, "complete")
            )
            yield self._in_turn(self._reconcile())
            self._ticks = task.LoopingCall(self._tick)
            self._ticks.clock = self.master.reactor
            self._ticks.start(TICK, now=False)
        yield super().activate()

    @defer.inlineCallbacks
    def deactivate(self) -> Any:
        """Stop, once what is being written is written."""
        yield super().deactivate()
        if self._ticks is not None:
            self._ticks.stop()
            self._ticks = None
            self._ends.stopConsuming()
            yield self._turn.run(lambda: None)

    def _in_turn(self, work: Any) -> defer.Deferred[Any]:
        """One thing after another, so that each finds what the one before has left."""
        return self._turn.run(lambda: defer.ensureDeferred(work))

    async def _load(self) -> None:
        now = self.master.reactor.seconds()
        self._checked_until = await self.getState(_CHECKED_UNTIL, now)
        saved = await self.master.db.pool.do(self._read)
        # One that cannot be read is due all the same.
        self._due = {
            app: recalled(Due, json.loads(text), f"what is due of {app}") or Due(now)
            for app, text in saved
        }
        self._app_of = {d.buildset: app for app, d in self._due.items() if d.buildset is not None}

    def _read(self, conn: Any) -> list[tuple[str, str]]:
        table = self.master.db.model.object_state
        mine = (table.c.objectid == self._objectid) & table.c.name.not_in([_CHECKED_UNTIL, SEEN])
        rows = conn.execute(table.select().where(mine))
        return [(row.name, row.value_json) for row in rows if row.value_json != "null"]

    async def _reconcile(self) -> None:
        """Learn of what ended while nobody listened."""
        for app, due in list(self._due.items()):
            if due.buildset is not None and due.again is None:
                found = await self.master.data.get(("buildsets", due.buildset))
                if found is None or found["complete"]:
                    await self._ended(app, None if found is None else found["results"])

    async def _save(self, app: str) -> None:
        due = self._due.get(app)
        await self.setState(app, None if due is None else asdict(due))

    async def _add_buildset(self, reason: str, changeids: Sequence[int], priority: int) -> Any:
        """As of any change; but first note that the app is due."""
        change = await self.master.db.changes.getChange(changeids[-1])
        app = str(change.project)
        add = super()._add_buildset(reason, changeids, priority)
        return await self._in_turn(self._ask(app, change.sourcestampid, add))

    async def _ask(self, app: str, stamp: int | None, add: Any) -> Any:
        now = self.master.reactor.seconds()
        due = self._due.setdefault(app, Due(now))
        if due.buildset is not None:
            # What it was asked for is older than what is asked for now.
            self._app_of.pop(due.buildset, None)
        due.stamp = stamp if stamp is not None else due.stamp
        due.buildset = None
        # In case this is the last that this master does.
        due.again = now + FIRST_PAUSE
        await self._save(app)
        bsid, brids = await add
        due.buildset, due.again = bsid, None
        self._app_of[bsid] = app
        await self._save(app)
        return bsid, brids

    def _build_ended(self, _: Any, message: dict[str, Any]) -> None:
        app = self._app_of.get(message["bsid"])
        if app is not None:
            done = self._in_turn(self._ended_now(app, message["bsid"], message["results"]))
            done.addErrback(lambda f: log.err(f, f"while noting the end of a check of {app}"))

    async def _ended_now(self, app: str, bsid: int, results: int) -> None:
        due = self._due.get(app)
        if due is not None and due.buildset == bsid:
            await self._ended(app, results)

    async def _ended(self, app: str, results: int | None) -> None:
        """Note how the newest check of an app ended; `results` is None if nobody knows."""
        due, now = self._due[app], self.master.reactor.seconds()
        if due.buildset is not None:
            self._app_of.pop(due.buildset, None)
        if results in (SUCCESS, WARNINGS):
            del self._due[app]
        elif results in (SKIPPED, None):
            # Another request took its place, of which is not known how it ends.
            due.again = now + FIRST_PAUSE
        else:
            due.fail(now, self.checksPerDay)
            if due.failed == self.checksPerDay:
                log.msg(f"{self.name}: {app}: {due.failed} checks in a row have failed")
        await self._save(app)

    def _tick(self) -> defer.Deferred[None]:
        done = self._in_turn(self._look())
        return done.addErrback(lambda f: log.err(f, "while looking who is to be checked"))

    async def _look(self) -> None:
        if not self.enabled:
            # Switched off on the web page.
            return
        now = self.master.reactor.seconds()
        sources = {
            str(source.name): source
            for source in self.master.change_svc
            if getattr(source, "category", None) == APP_SOURCE
        }
        for app, due in list(self._due.items()):
            if due.again is not None and due.again <= now:
                await self._repeat(app, due, sources.get(app))
        # What was missed while nobody looked is made up for at twice the usual rate.
        until = min(now, self._checked_until + 2 * TICK)
        for app, source in sources.items():
            interval = getattr(source, "checkInterval", None) or self.checkInterval
            turn = placement.next_turn(app, interval, self._checked_until)
            if turn <= until and app not in self._due:
                reason = f"checked each {interval / DAY:g} days whatever its source says"
                add = self._add_check(app, source, None, reason, LOWEST)
                await self._ask(app, None, add)
        self._checked_until = until
        await self.setState(_CHECKED_UNTIL, until)
        await self._report(now)

    async def _repeat(self, app: str, due: Due, source: Any) -> None:
        if source is None:
            # It is polled no longer.
            del self._due[app]
            await self._save(app)
            return
        reason = f"due since {_time(due.since)}, {due.failed} checks have failed"
        priority = LOWEST if due.stamp is None else self.priority or 0
        add = self._add_check(app, source, due.stamp, reason, priority)
        await self._ask(app, due.stamp, add)

    async def _add_check(
        self, app: str, source: Any, stamp: int | None, reason: str, priority: int
    ) -> Any:
        of_now = {
            "codebase": "",
            "project": app,
            "repository": source.repourl,
            "branch": None,
            "revision": None,
        }
        properties = Properties(packageName=app)
        return await self._request(stamp or of_now, properties, reason, priority)

    async def _report(self, now: float) -> None:
        """Write who is due, for people and for Prometheus."""
        failing = [app for app, due in self._due.items() if due.failed >= self.checksPerDay]
        entries = [
            {
                "app": app,
                "since": _time(due.since),
                "failed": due.failed,
                "again": None if due.again is None else _time(due.again),
                "failing": due.failed >= self.checksPerDay,
            }
            for app, due in sorted(self._due.items())
            # A check of one that is as ever is no news.
            if due.stamp is not None or due.failed
        ]
        text = _METRICS.format(name=self.name, apps=len(entries), failing=len(failing), now=now)
        document = json.dumps(entries, indent=1) + "\n"
        await threads.deferToThread(self._write, text, document)

    def _write(self, metrics: str, document: str) -> None:
        output.write(self.master, f"metrics/due-{self.name}.prom", metrics)
        output.write(self.master, f"status/due-{self.name}.json", document)


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")
