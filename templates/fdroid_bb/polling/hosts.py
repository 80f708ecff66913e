# SPDX-License-Identifier: GPL-2.0-or-later
"""Manners towards the hosts of repositories: none is asked while it is down or told us to wait.

What Buildbot lacked: its pollers know nothing of each other, so an hour's outage of a forge is
met by every poller at its own pace, with a traceback each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.base import DelayedCall
from twisted.python import log

from ..common.process import printable
from .ls_remote import PollFailed

# A host is down when so many polls in a row found no answer, or as many as it has repositories.
DOWN_AFTER = 3

# Seconds until a host that is down is asked again: doubled from the first to the longest, which is
# as often as it is asked when it is up, within these limits.
FIRST_PAUSE = 60
LONGEST_PAUSE_AT_LEAST = 5 * 60
LONGEST_PAUSE_AT_MOST = 60 * 60

# Seconds after which the second limit no longer counts: a dead host is asked no more than others.
DEAD_AFTER = 24 * 60 * 60

# Seconds that a host may tell us to wait, at most.
LONGEST_WAIT = 6 * 60 * 60

# Missed polls are made up for at this rate, in terms of the host's usual one, but not slower than
# one in so many seconds.
CATCH_UP = 2
SLOWEST_CATCH_UP = 5 * 60


@dataclass(frozen=True)
class Outage:
    """A host that is down, and why; times are in Unix time, `pause` is in seconds."""

    down_since: float
    pause: float
    wait_until: float
    asked_again: float
    why: str


class Tenant(Protocol):
    """A repository, as its host needs to know it."""

    # Seconds from one poll to the next, and when the last one was, in Unix time.
    interval: int
    last_poll: float | None

    @property
    def apps(self) -> int:
        """How many apps it has."""

    def ask(self) -> None:
        """Poll now, unless the host is down."""

    def probe(self) -> None:
        """Poll now, though the host is down."""


class Neighbours(Protocol):
    """All hosts together, as one of them needs to know them."""

    def heard_from(self, host: Host) -> None:
        """Note that a host said something, be it that it is busy."""

    def heard_nothing(self, host: Host) -> None:
        """Note that a host did not answer."""

    def stop_waiting(self, host: Host) -> None:
        """Owe a poll to those that wait for their turn at a host: it is down."""

    def waits_at(self, host: Host) -> bool:
        """Whether anybody waits for a slot at a host."""


class Host:
    """One host and port: whether it is down, when it is asked again, and whom it owes a poll."""

    def __init__(self, reactor: Any, name: str, neighbours: Neighbours) -> None:
        self._reactor = reactor
        self._neighbours = neighbours
        self.name = name
        self.tenants: dict[Tenant, None] = {}
        self.down_since: float | None = None
        self.why = ""
        self.pause = 0.0
        # Until when it told us to wait, in Unix time.
        self.wait_until = 0.0
        self.last_poll: float | None = None
        # Those that missed a turn, in order, to be polled besides the others' turns.
        self.owed: dict[Tenant, None] = {}
        # Those that failed since the last answer, and in how many polls.
        self._failed: set[Tenant] = set()
        self._failures = 0
        self._rate: float | None = None
        self._probe_call: DelayedCall | None = None
        self._catch_up_call: DelayedCall | None = None

    @property
    def down(self) -> bool:
        """Whether it is left alone for now."""
        return self.down_since is not None

    @property
    def told_to_wait(self) -> bool:
        """Whether it said so, and the time is not over."""
        return self.down and bool(self._reactor.seconds() < self.wait_until)

    @property
    def apps(self) -> int:
        """How many apps have their source there."""
        return sum(tenant.apps for tenant in self.tenants)

    @property
    def rate(self) -> float:
        """Polls in a second when all is well."""
        if self._rate is None:
            self._rate = sum(1 / tenant.interval for tenant in self.tenants)
        return self._rate

    def join(self, tenant: Tenant) -> None:
        """Add a repository."""
        self.tenants[tenant] = None
        self._rate = None

    def leave(self, tenant: Tenant) -> None:
        """Forget a repository that no app has any more."""
        self.tenants.pop(tenant, None)
        self._failed.discard(tenant)
        self.owed.pop(tenant, None)
        self._rate = None
        if not self.tenants:
            self.stop()

    def changed(self) -> None:
        """Note that a repository has another interval."""
        self._rate = None

    @property
    def outage(self) -> Outage:
        """What `recall` takes, of a host that is down."""
        assert self.down_since is not None
        return Outage(self.down_since, self.pause, self.wait_until, self.asked_again, self.why)

    def recall(self, outage: Outage) -> None:
        """Go on where the last run left it."""
        if not self.down and self.tenants:
            self.pause, self.wait_until = outage.pause, outage.wait_until
            self._fall(outage.down_since, outage.asked_again, outage.why)

    def owe(self, tenant: Tenant) -> None:
        """Have it polled besides the others' turns: its own was missed."""
        self.owed[tenant] = None
        self._catch_up_later()

    def paid(self, tenant: Tenant) -> None:
        """Note that it is polled now, for whatever reason."""
        self.last_poll = self._reactor.seconds()
        self.owed.pop(tenant, None)

    def answered(self) -> None:
        """Note an answer, of whatever kind: the host is there."""
        self._failed.clear()
        self._failures = 0
        # While it told us to wait, this is the answer to what was asked before.
        if self.down_since is not None and not self.told_to_wait:
            seconds = self._reactor.seconds() - self.down_since
            log.msg(f"app sources: {self.name} answers again after {seconds:.0f} s")
            self.down_since = None
            self._stop_probing()
            self._catch_up_later()
        self._neighbours.heard_from(self)

    def failed(self, tenant: Tenant, failure: PollFailed) -> None:
        """Note a poll that failed for a reason of the host's."""
        now = self._reactor.seconds()
        self._failed.add(tenant)
        self._failures += 1
        if failure.retry_after is not None:
            if not self.told_to_wait:
                self.pause = self._next_pause()
            self.wait_until = max(self.wait_until, now + min(failure.retry_after, LONGEST_WAIT))
            asked_again = max(self.wait_until, now + self.pause)
            self._fall(self.down_since or now, asked_again, failure.why)
        elif self.down and not self.told_to_wait:
            self.pause = self._next_pause()
            self._probe_at(now + self.pause)
        elif not self.down and self._failures >= min(DOWN_AFTER, len(self.tenants)):
            self.pause = self._next_pause()
            self._fall(now, now + self.pause, failure.why)
        if self.down:
            self.owed.update(dict.fromkeys(self._failed))
        if failure.response.status is None:
            self._neighbours.heard_nothing(self)
        else:
            self._neighbours.heard_from(self)

    def look(self) -> None:
        """Ask whether it is there, unless it told us to wait: others answer again."""
        if self.down and not self.told_to_wait:
            self._probe()

    def stop(self) -> None:
        """Do nothing from now on."""
        self._stop_probing()
        if self._catch_up_call is not None:
            self._catch_up_call.cancel()
            self._catch_up_call = None

    def _fall(self, since: float, asked_again: float, why: str) -> None:
        if not self.down:
            seconds = asked_again - self._reactor.seconds()
            said = printable(why.replace("\n", " "))
            log.msg(f"app sources: {self.name} is down, asked again in {seconds:.0f} s: {said}")
        self.down_since, self.why = since, why
        self._probe_at(asked_again)
        self._neighbours.stop_waiting(self)

    @property
    def asked_again(self) -> float:
        """When it is asked whether it is there again, in Unix time."""
        return self._probe_call.getTime() if self._probe_call is not None else 0.0

    def _next_pause(self) -> float:
        if self.down_since is None:
            return FIRST_PAUSE
        usual = 1 / self.rate if self.rate else 0.0
        longest = max(usual, LONGEST_PAUSE_AT_LEAST)
        if self._reactor.seconds() + LONGEST_PAUSE_AT_MOST >= self.down_since + DEAD_AFTER:
            return longest
        return min(self.pause * 2, longest, LONGEST_PAUSE_AT_MOST)

    def _probe_at(self, when: float) -> None:
        self._stop_probing()
        self._probe_call = self._reactor.callLater(
            max(0, when - self._reactor.seconds()), self._probe
        )

    def _probe(self) -> None:
        # Again in any case: a probe may be given up with its repository.
        self._probe_at(self._reactor.seconds() + self.pause)
        # One that was not asked for long: the last ones may be broken for themselves.
        tenant = min(self.tenants, key=lambda tenant: tenant.last_poll or 0, default=None)
        if tenant is not None:
            tenant.probe()

    def _stop_probing(self) -> None:
        if self._probe_call is not None and self._probe_call.active():
            self._probe_call.cancel()
        self._probe_call = None

    def _catch_up_later(self) -> None:
        if self.down or not self.owed or self._catch_up_call is not None:
            return
        rate = self.rate * CATCH_UP
        gap = min(1 / rate, SLOWEST_CATCH_UP) if rate else 0
        self._catch_up_call = self._reactor.callLater(gap, self._catch_up)

    def _catch_up(self) -> None:
        self._catch_up_call = None
        if self.down:
            return
        # While others wait whose turn it is, they go first.
        if self.owed and not self._neighbours.waits_at(self):
            tenant = next(iter(self.owed))
            del self.owed[tenant]
            tenant.ask()
        self._catch_up_later()
