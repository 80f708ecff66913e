# SPDX-License-Identifier: GPL-2.0-or-later
"""A daily schedule on the days on which clocks change: a real master on a simulated clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from buildbot.plugins import util, worker
from buildbot.schedulers.timed import Nightly
from twisted.internet import defer

from fdroid_bb import Daily
from fdroid_bb.queueing.daily import next_run
from simulated import Simulated

# A zone, and a day on which its clocks change.
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Europe/London", date(2026, 3, 29)),
    ("Europe/London", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    # At midnight.
    ("Africa/Cairo", date(2025, 4, 25)),
    ("Africa/Cairo", date(2025, 10, 30)),
    ("America/Havana", date(2026, 3, 8)),
    ("America/Havana", date(2026, 11, 1)),
    # By half an hour.
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    # Never.
    ("Asia/Kolkata", date(2026, 3, 29)),
]
TIMES = [(0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (3, 0), (12, 0), (23, 30), (23, 59)]


@contextmanager
def zone(name: str) -> Iterator[ZoneInfo]:
    """Put this process in another time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield ZoneInfo(name)
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@pytest.mark.parametrize(("name", "changes"), CHANGES, ids=lambda value: str(value))
def test_a_daily_schedule_runs_once_on_each_date(name: str, changes: date) -> None:
    with zone(name) as there:
        for hour, minute in TIMES:
            first = datetime.combine(changes - timedelta(days=3), datetime.min.time(), there)
            run = next_run(hour, minute, None, first.timestamp() - 1)
            for day in range(7):
                wanted = changes + timedelta(days=day - 3)
                found = datetime.fromtimestamp(run, there)
                assert found.date() == wanted, (hour, minute)
                # What the zone's own rules make of that time on that date, if it is there.
                exact = datetime(wanted.year, wanted.month, wanted.day, hour, minute, tzinfo=there)
                late = exact.astimezone(ZoneInfo("UTC")).astimezone(there).replace(tzinfo=None)
                assert found.replace(tzinfo=None) == late
                assert found.fold == 0
                run = next_run(hour, minute, run, run)


def test_what_a_master_missed_is_made_up_for_once() -> None:
    with zone("Europe/Berlin") as there:

        def at(*args: int) -> float:
            return datetime(*args, tzinfo=there).timestamp()  # type: ignore[misc,arg-type]

        # It was down for two days: the next run is at once, for it is in the past.
        assert next_run(2, 30, at(2026, 10, 22, 2, 30), at(2026, 10, 24, 9)) < at(2026, 10, 24, 9)
        # That one was the run of its date.
        assert next_run(2, 30, at(2026, 10, 24, 9), at(2026, 10, 24, 9)) == at(2026, 10, 25, 2, 30)
        # Restarted between the two times that are 02:30, after the first.
        last = at(2026, 10, 25, 2, 30)
        assert next_run(2, 30, last, last + 40 * 60) == at(2026, 10, 26, 2, 30)
        # The time of day was changed after that date's run.
        assert next_run(5, 0, last, last + 60) == at(2026, 10, 26, 5)


class OnARealMaster(Simulated):
    """In Berlin, where the clocks go back on 2026-10-25 at 03:00 and forward on 2026-03-29."""

    async def runs(
        self, first: date, scheduler: type[Nightly], restarts: Sequence[timedelta]
    ) -> list[str]:
        """The local times of three days' builds, with restarts so long after the start."""
        here = ZoneInfo("Europe/Berlin")
        start = datetime.combine(first, datetime.min.time(), here)
        self.reactor.rightNow = start.timestamp()
        config = {
            "db_url": self.database(),
            "workers": [worker.Worker("none", "pass")],
            "builders": [util.BuilderConfig("b", workername="none", factory=util.BuildFactory())],
            "schedulers": [scheduler(name="daily", builderNames=["b"], hour=2, minute=30)],
            "protocols": {"null": {}},
        }
        found: list[int] = []
        for end in [*restarts, timedelta(days=3)]:
            tested = await self.start(config)
            left = (start.timestamp() + end.total_seconds()) - self.reactor.seconds()
            await self.pass_time(left, step=1800)
            found = [s["submitted_at"] for s in await self.master.data.get(("buildsets",))]
            await tested.shutdown()
        return [f"{datetime.fromtimestamp(when, here):%d %H:%M}" for when in found]

    def check(
        self,
        wanted: list[str],
        first: date,
        scheduler: type[Nightly] = Daily,
        restarts: Sequence[timedelta] = (),
    ) -> defer.Deferred[None]:
        async def check() -> None:
            with zone("Europe/Berlin"):
                assert await self.runs(first, scheduler, restarts) == wanted

        return defer.ensureDeferred(check())

    def test_a_nightly_of_buildbot_runs_twice(self) -> defer.Deferred[None]:
        """What `Daily` is for. Should this fail, Buildbot has mended it, and `Daily` can go."""
        wanted = ["25 02:30", "26 01:30", "26 02:30", "27 02:30"]
        return self.check(wanted, date(2026, 10, 25), Nightly)

    def test_once_when_the_clocks_go_back(self) -> defer.Deferred[None]:
        return self.check(["25 02:30", "26 02:30", "27 02:30"], date(2026, 10, 25))

    def test_once_when_the_clocks_go_forward(self) -> defer.Deferred[None]:
        return self.check(["29 03:30", "30 02:30", "31 02:30"], date(2026, 3, 29))

    def test_once_with_restarts_around_that_hour(self) -> defer.Deferred[None]:
        # At 02:00 before the clocks go back, and at 02:00 and 02:30 after.
        restarts = [timedelta(hours=2), timedelta(hours=3), timedelta(hours=3.5)]
        wanted = ["25 02:30", "26 02:30", "27 02:30"]
        return self.check(wanted, date(2026, 10, 25), restarts=restarts)


def test_some_days_of_the_week() -> None:
    with zone("Europe/Berlin"):
        # Sundays are the days on which clocks change there.
        last, runs = None, []
        now = datetime(2026, 3, 20, 12).timestamp()
        for _ in range(40):
            last = next_run(2, 30, last, now, [6, 0])
            runs.append(datetime.fromtimestamp(last))
        assert {run.weekday() for run in runs} == {0, 6}
        days = [run.date() for run in runs]
        assert days[0] == date(2026, 3, 22)
        assert {(b - a).days for a, b in pairwise(days)} == {1, 6}
        late = [run for run in runs if (run.hour, run.minute) != (2, 30)]
        assert [run.isoformat() for run in late] == ["2026-03-29T03:30:00"]
