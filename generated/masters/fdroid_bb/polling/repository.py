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

from ..common import placement
from ..common.process import printable
from . import refs
from .hosts import DOWN_AFTER, Host
from .ls_remote import PollFailed, Remote, Watch, ls_remote
from .slots import Slots

# Seconds after which a turn is not taken late but made up for: the machine slept.
_LATE = 60

# A repository is dead when so many polls failed in a row, over at least so many intervals. An
# answer without a ref that is watched is a failure as soon as there are so many of them.
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
    """What repositories share."""

    slots: Slots

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
        # Seconds from one poll to the next, as soon as there is a member.
        self.interval = 1
        self.failing: Failing | None = None
        # Answers without a ref that is watched, before they are so many that it fails.
        self.empty: Failing | None = None
        self.last_poll: float | None = None
        self._polling: defer.Deferred[None] | None = None
        self._call: DelayedCall | None = None
        self._told_dead = False
        # Whether the poll under way has no answer yet.
        self._unanswered = False
        # How many polls since the last turn were repeated for a reason of the host's.
        self._repeats = 0
        self._turn_at = 0
        # The turn that was polled last.
        self._last: int | None = None

    @property
    def key(self) -> str:
        """Its name in the list of failures."""
        return f"{self.watch.wanted} of {self.remote.url}"

    @property
    def queue(self) -> str:
        """Where it waits for a slot."""
        return self.host.name

    @property
    def apps(self) -> int:
        """How many apps it has."""
        return len(self.members)

    @property
    def dead(self) -> bool:
        """Whether it has failed for long."""
        return self._for_long(self.failing)

    @property
    def busy(self) -> bool:
        """Whether a poll waits for a slot or is under way."""
        return self._polling is not None or self._office.slots.holds(self)

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
        self._office.slots.withdraw(self)
        if self._polling is not None and self._unanswered:
            # Not later: what is being written to the database is written to its end.
            self._polling.cancel()

    def schedule(self) -> None:
        """Set the clock for the next turn."""
        self._cancel_call()
        now = self._reactor.seconds()
        interval, first = min((m.interval, m.app_id) for m in self.members.values())
        if interval != self.interval:
            self.interval = interval
            self.host.changed()
        self._turn_at = placement.next_turn(first, interval, now)
        if self._last is not None and self._last + interval < self._turn_at:
            # The interval has become shorter, or the first app is another one.
            if self._last + interval <= now:
                self.host.owe(self)
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
        self._repeats = 0
        self.schedule()
        if now > turn + _LATE:
            self.host.owe(self)
        else:
            self.ask()

    def ask(self) -> None:
        """Poll now, unless a poll is under way or its host is down."""
        if self.host.down:
            self.host.owe(self)
        elif not self.busy:
            self._office.slots.enter(self)

    def probe(self) -> None:
        """Poll now, though its host is down."""
        if not self.busy:
            self._office.slots.enter(self)

    def begin(self) -> None:
        """Poll: there is a slot."""
        self.last_poll = self._reactor.seconds()
        self.host.paid(self)
        self._unanswered = True
        self._polling = defer.ensureDeferred(self._poll())
        self._polling.addErrback(self._broken)
        self._polling.addBoth(self._done)

    def _broken(self, failure: Failure) -> None:
        if failure.check(defer.CancelledError) is None:
            log.err(failure, f"while polling {self.key}")

    def _done(self, _: object) -> None:
        self._polling = None

    async def _poll(self) -> None:
        start = self._reactor.seconds()

        def count(result: str) -> None:
            self._office.counted(result, self._reactor.seconds() - start)

        try:
            answer = await ls_remote(self._reactor, self.remote, self.watch)
        except PollFailed as failure:
            count("failure")
            self._failed(failure)
            return
        finally:
            self._office.slots.end(self)
        self._unanswered = False
        self.host.answered()
        lacking = self.watch.lacking(answer)
        count("empty" if lacking else "success")
        if lacking:
            self._found_empty(lacking)
        else:
            self._found_well()
        for member in list(self.members.values()):
            await member.heard(self, answer)

    def _found_well(self) -> None:
        if self.failing is not None:
            log.msg(f"app sources: {self.key} answers again after {self.failing.polls} failures")
        self.failing = self.empty = None
        self._told_dead = False

    def _found_empty(self, why: str) -> None:
        if self.empty is None:
            self.empty = Failing(self._reactor.seconds(), 0, why)
        self.empty.polls += 1
        self.failing = self.empty if self._for_long(self.empty) else None
        self._tell_if_dead()

    def _failed(self, failure: PollFailed) -> None:
        if self.failing is None:
            apps = ", ".join(sorted(self.members))
            said = printable(failure.why.replace("\n", " "))
            log.msg(f"app sources: {self.key} ({printable(apps)}) failed: {said}")
            self.failing = Failing(self._reactor.seconds(), 0, failure.why)
        self.failing.polls += 1
        self.failing.why = failure.why
        self._tell_if_dead()
        if not failure.of_host:
            self.host.answered()
            return
        self.host.failed(self, failure)
        if not self.host.down and self._repeats < DOWN_AFTER - 1:
            # Until the host is down, or has answered others: then this one is broken for itself.
            self._repeats += 1
            self.host.owe(self)

    def _for_long(self, failing: Failing | None) -> bool:
        return (
            failing is not None
            and failing.polls >= _DEAD_POLLS
            and self._reactor.seconds() - failing.since >= _DEAD_INTERVALS * self.interval
        )

    def _tell_if_dead(self) -> None:
        if self.failing is not None and self.dead and not self._told_dead:
            self._told_dead = True
            said = printable(self.failing.why.replace("\n", " "))
            log.msg(f"app sources: {self.key} is dead: {said}")

    def _cancel_call(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
