# SPDX-License-Identifier: GPL-2.0-or-later
"""Manners towards the hosts of repositories: few questions at once, none to one that is down.

What Buildbot lacked: its pollers know nothing of each other, so an hour's outage of a forge is
met by every poller at its own pace, with a traceback each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.base import DelayedCall
from twisted.python import log

# Polls at once at one host. The apps of the busiest are seconds apart, so few ever overlap.
AT_ONCE = 2

# A host is down when this many of its repositories, or all that it has, failed one after the
# other with no answer between. One broken repository says nothing of its host.
DOWN_AFTER = 3

# Seconds that a host is left alone, doubled while it stays down.
FIRST_PAUSE = 60
LONGEST_PAUSE = 60 * 60


class Tenant(Protocol):
    """A repository, as its host needs to know it."""

    def probe(self) -> None:
        """Ask now, though the host is down."""


class Host:
    """One host and port. `owe` is called with the repositories to ask when it is back."""

    def __init__(self, reactor: Any, name: str, owe: Callable[[Iterable[Tenant]], None]) -> None:
        self._reactor = reactor
        self._owe = owe
        self.name = name
        self.slots = defer.DeferredSemaphore(AT_ONCE)
        self.tenants: set[Tenant] = set()
        self.down_since: float | None = None
        self.pause = 0.0
        # In order; those that failed since the last answer, or had their turn while it was down.
        self._unanswered: dict[Tenant, None] = {}
        self._call: DelayedCall | None = None

    @property
    def down(self) -> bool:
        """Whether it is left alone for now."""
        return self.down_since is not None

    def missed(self, tenant: Tenant) -> None:
        """Note a turn that fell into the time it was down."""
        self._unanswered[tenant] = None

    def answered(self, tenant: Tenant) -> None:
        """Note an answer: whatever was wrong is over."""
        unanswered, self._unanswered = self._unanswered, {}
        if self.down_since is None:
            return
        log.msg(f"app sources: {self.name} answers again after {self._down_for()}")
        self.down_since = None
        self._cancel()
        unanswered.pop(tenant, None)
        self._owe(unanswered)

    def failed(self, tenant: Tenant, why: str) -> None:
        """Note a poll without an answer."""
        self._unanswered[tenant] = None
        if self.down_since is not None:
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
            self._wait()
        elif len(self._unanswered) >= min(DOWN_AFTER, len(self.tenants)):
            self.down_since = self._reactor.seconds()
            self.pause = FIRST_PAUSE
            log.msg(f"app sources: {self.name} is down, asked again in {self.pause:g} s: {why}")
            self._wait()

    def leave(self, tenant: Tenant) -> None:
        """Forget a repository that no app has any more."""
        self.tenants.discard(tenant)
        self._unanswered.pop(tenant, None)
        if not self.tenants:
            self._cancel()

    def _wait(self) -> None:
        self._cancel()
        self._call = self._reactor.callLater(self.pause, self._probe)

    def _probe(self) -> None:
        # Again in any case: a probe may be given up with its repository.
        self._call = self._reactor.callLater(self.pause, self._probe)
        candidates: Iterable[Tenant] = self._unanswered or self.tenants
        tenant = next(iter(candidates), None)
        if tenant is not None:
            # The next probe asks another one: this one may be broken for itself.
            self._unanswered.pop(tenant, None)
            self._unanswered[tenant] = None
            tenant.probe()

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _down_for(self) -> str:
        return f"{self._reactor.seconds() - (self.down_since or 0):.0f} s"
