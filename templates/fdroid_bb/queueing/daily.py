# SPDX-License-Identifier: GPL-2.0-or-later
"""Start a build once on each day, also on the days on which the clocks change.

What Buildbot lacked: its Nightly works the next time out with the UTC offset of the last one. After
the clocks go back it runs at 01:30 and again at 02:30; when they go forward it runs an hour late,
which for 23:30 is the next day, so that one day has no run at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from buildbot.schedulers.timed import Nightly
from twisted.internet import defer

# What says when it runs.
_WHEN = ("hour", "minute", "dayOfWeek")


class Daily(Nightly):
    """Runs at `hour`:`minute` in the master's time zone, at most once on each date, on the days of
    the week that `dayOfWeek` lists (Monday is 0), or on all.

    A time that a date has twice is the first of the two; one that a date skips is late by what was
    skipped, so 02:30 is then 03:30. A run that the master's own downtime swallowed is made up for
    at once, and is that date's run.
    """

    @defer.inlineCallbacks
    def reconfigService(self, *args: Any, **kwargs: Any) -> Any:
        """Also set the timer anew where the time of day has changed: Buildbot keeps the old one."""
        before = [getattr(self, name, None) for name in _WHEN]
        yield super().reconfigService(*args, **kwargs)
        if self.actuateOk and before != [getattr(self, name) for name in _WHEN]:
            yield self.scheduleNextBuild()

    def getNextBuildTime(self, lastActuated: float | None) -> defer.Deferred[float]:
        """The next time in Unix time; one that has passed was missed."""
        days = None if self.dayOfWeek == "*" else self.dayOfWeek
        return defer.succeed(next_run(self.hour, self.minute, lastActuated, self.now(), days))


def next_run(
    hour: int, minute: int, last: float | None, now: float, days: Sequence[int] | None = None
) -> float:
    """When to run after the run at `last`, or for the first time after `now`, on one of `days` if
    they are given; all in Unix time.
    """

    def on(day: date) -> float:
        # Without a zone it is the master's own, and `fold` 0 decides as `Daily` says.
        return datetime.combine(day, time(hour, minute)).timestamp()

    day = _date(now if last is None else last)
    if last is not None or on(day) <= now:
        day += timedelta(days=1)
    while days and day.weekday() not in days:
        day += timedelta(days=1)
    return on(day)


def _date(unix: float) -> date:
    """The date in the master's time zone."""
    return datetime.fromtimestamp(unix).date()
