# SPDX-License-Identifier: GPL-2.0-or-later
"""One repository and what is watched in it, asked once for all apps that share it.

What Buildbot lacked: a poller for each app asks by itself; twenty-two apps of one repository
were twenty-two calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.base import DelayedCall
from twisted.python import log
from twisted.python.failure import Failure

from . import placement, refs
from .hosts import Host
from .ls_remote import Remote, Watch, ls_remote
from .process import CommandFailed, printable

# Seconds after which a turn is not taken late but made up for: the machine slept.
_LATE = 60

# A repository is dead when so many polls failed in a row, over at least so many intervals.
_DEAD_POLLS = 3
_DEAD_INTERVALS = 2


class Member(Protocol):
    """An app, as its repository needs to know it."""

    app_id: str

    @property
    def interval(self) -> int:
        """Seconds from one poll to the next."""

    def heard(self, repository: Repository, answer: refs.Answer) -> defer.Deferred[None]:
        """Make of the answer a Change or none."""


@dataclass
class Failing:
    """Since when (Unix time) a repository fails, in how many polls, and the last reason."""

    since: float
    polls: int
    why: str


class Office(Protocol):
    """What repositories share: the limit of polls at once, and the list of missed turns."""

    slots: defer.DeferredSemaphore

    def owe(self, repository: Repository) -> None:
        """Have it asked when there is time."""

    def paid(self, repository: Repository) -> None:
        """Note that it is asked now."""

    def counted(self, result: str, seconds: float) -> None:
        """Count a poll."""


class Repository:
    """Polled at the fixed place of its first app, the one with the shortest interval."""

    def __init__(
        self, reactor: Any, office: Office, host: Host, remote: Remote, watch: Watch
    ) -> None:
        self._reactor = reactor
        self._office = office
        self.host = host
        self.remote = remote
        self.watch = watch
        self.members: dict[str, Member] = {}
        self.failing: Failing | None = None
        self.polling: defer.Deferred[None] | None = None
        self._call: DelayedCall | None = None
        self._told_dead = False
        # Whether the poll under way has no answer yet.
        self._unanswered = False
        self._turn_at = 0
        # The turn that was polled last.
        self._last: int | None = None

    @property
    def key(self) -> str:
        """Its name in the list of failures."""
        return f"{self.watch.wanted} of {self.remote.url}"

    @property
    def interval(self) -> int:
        """Seconds from one poll to the next."""
        return min(member.interval for member in self.members.values())

    @property
    def dead(self) -> bool:
        """Whether it has failed for long."""
        return (
            self.failing is not None
            and self.failing.polls >= _DEAD_POLLS
            and self._reactor.seconds() - self.failing.since >= _DEAD_INTERVALS * self.interval
        )

    def join(self, member: Member) -> None:
        """Ask for this app too."""
        self.members[member.app_id] = member
        self.schedule()

    def leave(self, member: Member) -> None:
        """Ask for this app no longer; the last one ends a poll under way."""
        self.members.pop(member.app_id, None)
        if self.members:
            self.schedule()
            return
        self._cancel_call()
        if self.polling is not None and self._unanswered:
            # Not later: what is being written to the database is written to its end.
            self.polling.cancel()

    def schedule(self) -> None:
        """Set the clock for the next turn."""
        self._cancel_call()
        now = self._reactor.seconds()
        interval = self.interval
        _, first = min((m.interval, m.app_id) for m in self.members.values())
        self._turn_at = placement.next_turn(first, interval, now)
        if self._last is not None and self._last + interval < self._turn_at:
            # The interval has become shorter, or the first app is another one.
            if self._last + interval <= now:
                self._office.owe(self)
            else:
                self._turn_at = self._last + interval
        self._call = self._reactor.callLater(self._turn_at - now, self._turn)

    def missed_between(self, start: float, end: float) -> bool:
        """Whether it had a turn then. At most one interval before now."""
        return start < self._turn_at - self.interval <= end

    def _turn(self) -> None:
        self._call = None
        turn, now = self._turn_at, self._reactor.seconds()
        if now < turn:
            # A timer that is early, or a clock that was set back, makes no second turn.
            self.schedule()
            return
        self._last = turn
        self.schedule()
        if self.host.down:
            self.host.missed(self)
        elif now > turn + _LATE:
            self._office.owe(self)
        else:
            self.ask()

    def ask(self) -> None:
        """Poll now, unless a poll is under way or its host is down."""
        if self.host.down:
            self.host.missed(self)
        elif self.polling is None:
            self._start(probe=False)

    def probe(self) -> None:
        """Poll now, though its host is down."""
        if self.polling is None:
            self._start(probe=True)

    def _start(self, *, probe: bool) -> None:
        self._office.paid(self)
        self._unanswered = True
        self.polling = defer.ensureDeferred(self._poll(probe=probe))
        self.polling.addErrback(self._broken)
        self.polling.addBoth(self._done)

    def _broken(self, failure: Failure) -> None:
        if failure.check(defer.CancelledError) is None:
            log.err(failure, f"while polling {self.key}")

    def _done(self, _: object) -> None:
        self.polling = None

    async def _poll(self, *, probe: bool) -> None:
        async with self.host.slots, self._office.slots:
            if self.host.down and not probe:
                # It went down while this one waited for its slot.
                self.host.missed(self)
                return
            start = self._reactor.seconds()
            try:
                answer = await ls_remote(self._reactor, self.remote, self.watch)
            except CommandFailed as e:
                self._office.counted("failure", self._reactor.seconds() - start)
                self._failed(printable(str(e)))
                return
            self._unanswered = False
            self._office.counted("success", self._reactor.seconds() - start)
        if self.failing is not None:
            log.msg(f"app sources: {self.key} answers again after {self.failing.polls} failures")
            self.failing = None
            self._told_dead = False
        self.host.answered(self)
        for member in list(self.members.values()):
            await member.heard(self, answer)

    def _failed(self, why: str) -> None:
        if self.failing is None:
            apps = ", ".join(sorted(self.members))
            log.msg(f"app sources: {self.key} ({printable(apps)}) failed: {why}")
            self.failing = Failing(self._reactor.seconds(), 0, why)
        self.failing.polls += 1
        self.failing.why = why
        if self.dead and not self._told_dead:
            self._told_dead = True
            log.msg(f"app sources: {self.key} is dead: {why}")
        self.host.failed(self, why)

    def _cancel_call(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
