# SPDX-License-Identifier: GPL-2.0-or-later
"""All repositories that one master polls: who shares what, what is owed, and how they fare.

What Buildbot lacked: a list of the repositories that no longer answer, and a memory of the turns
that a master's own downtime swallowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from twisted.internet import defer, task
from twisted.internet.base import DelayedCall
from twisted.python import log

from .hosts import Host, Tenant
from .ls_remote import Remote, Watch
from .report import Report
from .repository import Failing, Member, Repository

# Polls at once, in this process: more would only queue on the network.
SLOTS = 8

# What is owed is polled so much slower than what has its turn: an outage of a forge, or of this
# master, must not be followed by a rush.
_OWED_SLOWNESS = 4

# Seconds between two looks at the list of failures, and two signs of life.
_HEARTBEAT = 60

# The object of Buildbot's state that holds them.
_STATE = ("app-sources", "fdroid_bb.Sources")


@dataclass(frozen=True)
class LastRun:
    """What an earlier run of this master left: its last sign of life and the start of this run, in
    Unix time, and by their keys the repositories that failed and those that were owed a poll.
    """

    alive: float
    over: float
    failing: dict[str, list[Any]]
    owed: frozenset[str]


class Sources:
    """The repositories of one master's pollers. Starts with the first, ends with the last."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self.slots = defer.DeferredSemaphore(SLOTS)
        self.hosts: dict[str, Host] = {}
        self._repositories: dict[tuple[Remote, Watch], Repository] = {}
        self._owed: dict[Repository, None] = {}
        self._owed_call: DelayedCall | None = None
        self._heartbeat: task.LoopingCall | None = None
        self._report: Report | None = None
        # What the last run of this master left, once it is read.
        self._last_run: LastRun | None = None
        self._saving = defer.DeferredLock()

    def join(self, member: Member, remote: Remote, watch: Watch) -> Repository:
        """Poll for an app from now on; what it shares with others."""
        if self._heartbeat is None:
            self._start()
        repository = self._repositories.get((remote, watch))
        if repository is None:
            host = self._host(remote)
            repository = Repository(self._master.reactor, self, host, remote, watch)
            self._repositories[remote, watch] = repository
            host.tenants.add(repository)
        first = not repository.members
        repository.join(member)
        if first and self._last_run is not None:
            self._recall(repository, self._last_run)
        return repository

    def leave(self, member: Member, repository: Repository) -> defer.Deferred[None]:
        """Poll for an app no longer."""
        repository.leave(member)
        if not repository.members:
            del self._repositories[repository.remote, repository.watch]
            self._owed.pop(repository, None)
            repository.host.leave(repository)
            if not repository.host.tenants:
                del self.hosts[repository.host.name]
        return defer.succeed(None) if self._repositories else self._stop()

    def owe(self, repository: Repository) -> None:
        """Have it polled besides the others' turns: its own was missed."""
        self._owed[repository] = None
        if self._owed_call is None:
            self._owed_call = self._master.reactor.callLater(self._owed_gap(), self._pay)

    def counted(self, result: str, seconds: float) -> None:
        """Count a poll for the metrics."""
        if self._report is not None:
            self._report.count(result, seconds)

    def _host(self, remote: Remote) -> Host:
        name = urlsplit(remote.url).netloc.lower()
        if name not in self.hosts:
            self.hosts[name] = Host(self._master.reactor, name, self._owe_all)
        return self.hosts[name]

    def _owe_all(self, tenants: Iterable[Tenant]) -> None:
        for repository in tenants:
            assert isinstance(repository, Repository)
            self.owe(repository)

    def _owed_gap(self) -> float:
        """Seconds between two that are owed. Few repositories make no rush."""
        rate = sum(1 / repository.interval for repository in self._repositories.values())
        return min(_OWED_SLOWNESS / rate, _HEARTBEAT) if rate else 0

    def _pay(self) -> None:
        self._owed_call = None
        repository = next(iter(self._owed), None)
        if repository is None:
            return
        del self._owed[repository]
        repository.ask()
        if self._owed:
            self._owed_call = self._master.reactor.callLater(self._owed_gap(), self._pay)

    def paid(self, repository: Repository) -> None:
        """Note that it is polled, for whatever reason."""
        self._owed.pop(repository, None)

    def _start(self) -> None:
        self._report = Report(self._master)
        self._heartbeat = task.LoopingCall(self._beat)
        self._heartbeat.clock = self._master.reactor
        defer.ensureDeferred(self._load()).addErrback(
            lambda failure: log.err(failure, "while reading the state of the app sources")
        )

    async def _load(self) -> None:
        state = self._master.db.state
        objectid = await state.getObjectId(*_STATE)
        saved = await state.getState(objectid, self._key(), {})
        now = self._master.reactor.seconds()
        self._last_run = LastRun(
            saved.get("alive", now), now, saved.get("failing", {}), frozenset(saved.get("owed", ()))
        )
        for repository in self._repositories.values():
            self._recall(repository, self._last_run)
        if self._heartbeat is not None and not self._heartbeat.running:
            self._heartbeat.start(_HEARTBEAT)

    def _key(self) -> str:
        return f"master-{self._master.masterid}"

    def _recall(self, repository: Repository, last_run: LastRun) -> None:
        """Go on with a repository where the last run left it."""
        failing = last_run.failing.get(repository.key)
        if failing is not None and repository.failing is None:
            repository.failing = Failing(*failing)
        if repository.key in last_run.owed or repository.missed_between(
            last_run.alive, last_run.over
        ):
            self.owe(repository)

    async def _beat(self) -> None:
        try:
            async with self._saving:
                await self._save()
        except Exception as e:
            # A full disk, say. The polls go on.
            log.msg(f"app sources: their state could not be saved: {e}")

    async def _save(self) -> None:
        state = self._master.db.state
        objectid = await state.getObjectId(*_STATE)
        # Taken down in one go: polls go on while it is saved.
        saved = {
            "alive": round(self._master.reactor.seconds()),
            "failing": {
                repository.key: [f.since, f.polls, f.why]
                for repository in self._repositories.values()
                if (f := repository.failing) is not None
            },
            "owed": [repository.key for repository in self._owed],
        }
        report, document = self._report, ""
        if report is not None:
            repositories, hosts = self._repositories.values(), self.hosts.values()
            document = report.take(repositories, hosts, owed=len(self._owed))
        await state.setState(objectid, self._key(), saved)
        if report is not None:
            await report.write(document)

    def _stop(self) -> defer.Deferred[None]:
        """End. Only a write under way is waited for."""
        if self._owed_call is not None:
            self._owed_call.cancel()
            self._owed_call = None
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None and heartbeat.running:
            heartbeat.stop()
        self._last_run = None
        return self._saving.run(lambda: None)


_of_master: WeakKeyDictionary[Any, Sources] = WeakKeyDictionary()


def of(master: Any) -> Sources:
    """Those of a master."""
    return _of_master.setdefault(master, Sources(master))
