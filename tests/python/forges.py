# SPDX-License-Identifier: GPL-2.0-or-later
"""Days of polls in seconds: the shipped classes on a clock that is turned by hand.

Only the outcome of `ls_remote` is made up, by a forge that says for each moment and URL how it
answers. The benchmark runs the same simulation with the runtime of an earlier commit, so nothing
here names what that one lacks.
"""

from __future__ import annotations

import heapq
import itertools
import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from twisted.internet import defer, task
from twisted.internet.base import DelayedCall

from fdroid_bb.common import placement
from fdroid_bb.common.process import CommandFailed
from fdroid_bb.polling import ls_remote, refs, repository
from fdroid_bb.polling.ls_remote import Remote, Watch
from fdroid_bb.polling.report import Report
from fdroid_bb.polling.sources import Sources

MINUTE, HOUR, DAY = 60, 3600, 86400
INTERVAL = 6 * HOUR

# When simulations begin, in Unix time.
EPOCH = 1_800_000_000


class Clock(task.Clock):
    """Twisted's, with a heap: its own sorts thousands of timers for each new one."""

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self._number = itertools.count()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> Any:
        """As a reactor does."""
        call = DelayedCall(
            self.seconds() + delay, callable, args, kw, lambda _: None, self._moved, self.seconds
        )
        self._moved(call)
        return call

    def _moved(self, call: DelayedCall) -> None:
        heapq.heappush(self._heap, (call.getTime(), next(self._number), call))

    def getDelayedCalls(self) -> list[Any]:
        """Those that are still to come."""
        return [call for _, _, call in self._heap if call.active()]

    def advance(self, amount: float) -> None:
        """Let time pass, and everything happen at its own moment."""
        end = self.seconds() + amount
        while self._heap and self._heap[0][0] <= end:
            when, _, call = heapq.heappop(self._heap)
            if not call.active() or call.getTime() > when:
                continue
            self.rightNow = max(self.rightNow, when)
            call.called = 1
            call.func(*call.args, **call.kw)
        self.rightNow = end


@dataclass
class App:
    """An app to poll: its id, its URL, and how many seconds there are between two polls."""

    app_id: str
    url: str
    interval: int = INTERVAL

    def heard(self, *_: object) -> defer.Deferred[None]:
        """Be told of an answer."""
        return defer.succeed(None)


@dataclass(frozen=True)
class Reply:
    """What comes of a poll, after how long. Status None: no answer at all."""

    status: int | None = 200
    seconds: float = 1
    retry_after: int | None = None
    refs: bool = True


# What a forge does at a moment (seconds since the start) with a URL.
Forge = Callable[[float, str], Reply]

GOOD = Reply()
REFUSED = Reply(None, 0.1)
TIMEOUT = Reply(None, 60)


def host(url: str) -> str:
    """Whose URL it is."""
    return urlsplit(url).netloc


def like_fdroiddata(github: int = 3161, others: int = 700) -> list[App]:
    """Made-up apps, at hosts as fdroiddata's are: one large, two smaller, many small."""
    small = [f"git{n}.example.org" for n in range(60)]
    weights = [50, 32, *(1 for _ in small)]
    hosts = ["gitlab.com", "codeberg.org", *small]
    chosen = random.Random(1).choices(hosts, weights, k=others)
    names = ["github.com"] * github + chosen
    return [App(f"org.example.n{n}", f"https://{h}/{n}.git") for n, h in enumerate(names)]


def read_pollers(path: Path) -> list[App]:
    """The apps in git of a `pollers.py`."""
    line = re.compile(r'^    git\("([^"]+)", "([^"]+)"(.*)\),$', re.MULTILINE)
    interval = re.compile(r"pollInterval=(\d+)")
    found = line.findall(path.read_text())
    return [
        App(app_id, url, int(given[1]) if (given := interval.search(rest)) else INTERVAL)
        for app_id, url, rest in found
    ]


def at_one_second(count: int, host: str = "github.com") -> list[App]:
    """Apps of a host whose turns all come at the same second of the interval."""
    ids = (f"org.together.n{n}" for n in itertools.count())
    same = (i for i in ids if placement.place(i, INTERVAL) == INTERVAL // 2)
    return [App(i, f"https://{host}/{i}.git") for i in itertools.islice(same, count)]


class State:
    """Buildbot's, which outlives a master."""

    def __init__(self) -> None:
        self.saved: Any = {}

    async def getObjectId(self, *_: object) -> int:
        """There is but one."""
        return 1

    async def getState(self, *_: object) -> Any:
        """What was saved last."""
        return self.saved

    async def setState(self, _: object, __: object, value: Any) -> None:
        """Save."""
        self.saved = value


class Master:
    """What `Sources` needs of one."""

    masterid = 1
    basedir = "/nonexistent"

    def __init__(self, clock: Clock, state: State) -> None:
        self.reactor = clock
        self.db = type("Database", (), {"state": state})


class Simulation:
    """The polls of all apps. `with` puts the made-up outcome in place, and takes it away."""

    def __init__(
        self, apps: Iterable[App], forge: Forge = lambda *_: GOOD, *, reports: bool = False
    ) -> None:
        self.reports = reports
        self.clock = Clock()
        self.clock.advance(EPOCH)
        self.apps = list(apps)
        self.forge = forge
        self.state = State()
        # When each URL was asked, and what came of it.
        self.calls: dict[str, list[tuple[float, Reply]]] = {}
        self._patches = ExitStack()

    def __enter__(self) -> Simulation:
        self._patches.enter_context(patch.object(repository, "ls_remote", self._ls_remote))
        self._patches.enter_context(patch.object(Report, "write", self._write))
        if not self.reports:
            # They are most of the work of a day.
            self._patches.enter_context(patch.object(Report, "take", lambda *_, **__: ""))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._patches.close()

    async def _write(self, *_: object) -> None:
        pass

    async def _ls_remote(self, _: object, remote: Remote, watch: Watch) -> refs.Answer:
        now = self.now
        reply = self.forge(now, remote.url)
        self.calls.setdefault(remote.url, []).append((now, reply))
        waited: defer.Deferred[None] = defer.Deferred()
        call = self.clock.callLater(reply.seconds, waited.callback, None)
        try:
            await waited
        finally:
            if call.active():
                call.cancel()
        if reply.status == 200:
            found = {"HEAD": "1" * 40, "refs/tags/v1": "2" * 40} if reply.refs else {}
            return refs.Answer(found)
        why = "the forge of the simulation" if reply.status is None else f"error: {reply.status}"
        if not hasattr(ls_remote, "PollFailed"):
            raise CommandFailed(why)
        # Not at the top: an earlier runtime has no such module.
        from fdroid_bb.polling.responses import Response

        raise ls_remote.PollFailed(
            why, Response(status=reply.status, retry_after=reply.retry_after)
        )

    def start(self) -> None:
        """A master starts, and knows what the one before it saved."""
        self.master = Master(self.clock, self.state)
        self.sources = Sources(self.master)
        self.joined = [
            (app, self.sources.join(app, Remote(app.url, "https", 60), Watch(tags=True)))
            for app in self.apps
        ]

    def stop(self) -> None:
        """The master dies: its timers do nothing from now on."""
        for _, repo in self.joined:
            if hasattr(self.sources.slots, "withdraw"):
                self.sources.slots.withdraw(repo)
        for call in self.clock.getDelayedCalls():
            call.cancel()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.seconds() - EPOCH

    def run(self, seconds: float, each_minute: Callable[[], object] = lambda: None) -> None:
        """Let time pass."""
        for _ in range(int(seconds // MINUTE)):
            self.clock.advance(MINUTE)
            each_minute()
        self.clock.advance(seconds % MINUTE)

    def down(self, name: str) -> bool:
        """Whether a host is taken for down."""
        found = self.sources.hosts.get(name)
        return found is not None and found.down

    def hosts_down(self) -> int:
        """How many are."""
        return sum(h.down for h in self.sources.hosts.values())

    def asked(self, start: float, end: float, of: Callable[[str], bool] = lambda _: True) -> int:
        """Calls in a time, of URLs that `of` wants."""
        return sum(
            start <= when < end for url, calls in self.calls.items() if of(url) for when, _ in calls
        )

    def minutes(self, of: Callable[[str], bool] = lambda _: True) -> Counter[int]:
        """Calls in each minute."""
        found: Counter[int] = Counter()
        for url, calls in self.calls.items():
            if of(url):
                found.update(int(when // MINUTE) for when, _ in calls)
        return found

    def overdue(self, slack: float = 2 * MINUTE) -> int:
        """Apps whose last answer is older than their interval, now."""
        now = self.now
        return sum(
            not any(
                reply.status == 200 and when >= now - app.interval - slack
                for when, reply in reversed(self.calls.get(app.url, []))
            )
            for app in self.apps
        )

    def longest_gap(self, good: Callable[[str], bool], start: float = 0) -> float:
        """The longest time between two polls of a good app, or until now, in intervals."""
        worst = 0.0
        for app in self.apps:
            if good(app.url):
                times = [start, *(w for w, _ in self.calls.get(app.url, ()) if w >= start)]
                gaps = (b - a for a, b in itertools.pairwise([*times, self.now]))
                worst = max(worst, max(gaps) / app.interval)
        return worst

    def turns_missed(self, start: float, end: float, late: float = MINUTE) -> int:
        """Turns in a time that no poll followed soon."""
        missed = 0
        for app, repo in self.joined:
            if min(repo.members) != app.app_id:
                continue
            turn = placement.next_turn(app.app_id, app.interval, EPOCH + start) - EPOCH
            if turn < end:
                times = [when for when, _ in self.calls.get(app.url, ())]
                at = bisect_left(times, turn - 1)
                missed += at == len(times) or times[at] > turn + late
        return missed
