# SPDX-License-Identifier: GPL-2.0-or-later
"""All repositories that one master polls: who shares what, what is owed, and how they fare.

What Buildbot lacked: a list of the repositories that no longer answer, and a memory of the turns
that a master's own downtime swallowed.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet import defer, task
from twisted.internet.base import DelayedCall
from twisted.python import log

from ..common.saved import recalled
from .hosts import Host, Outage
from .ls_remote import Remote, Watch
from .report import Report
from .repository import Failing, Member, Repository
from .slots import Slots

# The network is away when so many hosts, or all there are, were asked and none said a word.
_NETWORK_AWAY = 3

# Seconds between two questions to one of them after another, until one answers.
_NETWORK_PROBE = 30

# Seconds between two looks at the list of failures, and two signs of life.
_HEARTBEAT = 60

# The object of Buildbot's state that holds them.
_STATE = ("app-sources", "fdroid_bb.Sources")


@dataclass(frozen=True)
class Saved:
    """As it stands in the state. Earlier versions saved less."""

    alive: float | None = None
    failing: dict[str, Any] = field(default_factory=dict)
    owed: list[str] = field(default_factory=list)
    empty: dict[str, Any] = field(default_factory=dict)
    hosts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LastRun:
    """What an earlier run of this master left: its last sign of life and the start of this run, in
    Unix time, by their keys the repositories that failed, those that were owed a poll and those
    without what is watched, and by their names the hosts that were down.
    """

    alive: float
    over: float
    failing: dict[str, Any]
    owed: frozenset[str]
    empty: dict[str, Any]
    hosts: dict[str, Any]


class Sources:
    """The repositories of one master's pollers. Starts with the first, ends with the last."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self.slots = Slots()
        self.hosts: dict[str, Host] = {}
        # Since when these are polled, in Unix time.
        self.started = 0.0
        # Hosts that were asked since any of them said a word, and said none.
        self._silent: set[Host] = set()
        self._network_call: DelayedCall | None = None
        self._repositories: dict[tuple[Remote, Watch], Repository] = {}
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
            host.join(repository)
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
            repository.host.leave(repository)
            if not repository.host.tenants:
                self._silent.discard(repository.host)
                del self.hosts[repository.host.name]
        return defer.succeed(None) if self._repositories else self._stop()

    @property
    def network_away(self) -> bool:
        """Whether no host at all says a word."""
        return len(self._silent) >= max(2, min(_NETWORK_AWAY, len(self.hosts)))

    def heard_from(self, _: Host) -> None:
        """Note that a host said something. The first that does so after an outage of the network
        has all others asked at once.
        """
        away = self.network_away
        self._silent.clear()
        if self._network_call is not None:
            self._network_call.cancel()
            self._network_call = None
        if away:
            log.msg("app sources: the network is back, all hosts that are down are asked")
            for other in list(self.hosts.values()):
                other.look()

    def heard_nothing(self, host: Host) -> None:
        """Note that a host did not answer."""
        self._silent.add(host)
        if self.network_away and self._network_call is None:
            log.msg("app sources: no host answers, as if the network were away")
            self._network_call = self._master.reactor.callLater(_NETWORK_PROBE, self._next_look)

    def _next_look(self) -> None:
        self._network_call = self._master.reactor.callLater(_NETWORK_PROBE, self._next_look)
        down = [host for host in self.hosts.values() if host.down and not host.told_to_wait]
        if down:
            min(down, key=lambda host: host.last_poll or 0).look()

    def stop_waiting(self, host: Host) -> None:
        """Owe a poll to those that wait for their turn at a host: it is down."""
        for repository in self.slots.withdraw_all(host.name):
            assert isinstance(repository, Repository)
            host.owe(repository)

    def waits_at(self, host: Host) -> bool:
        """Whether anybody waits for a slot at a host."""
        return self.slots.waits_at(host.name)

    def counted(self, result: str, seconds: float) -> None:
        """Count a poll for the metrics."""
        if self._report is not None:
            self._report.count(result, seconds)

    def _host(self, remote: Remote) -> Host:
        name = remote.host
        if name not in self.hosts:
            self.hosts[name] = Host(self._master.reactor, name, self)
        return self.hosts[name]

    def _start(self) -> None:
        self.started = self._master.reactor.seconds()
        self._report = Report(self._master)
        self._heartbeat = task.LoopingCall(self._beat)
        self._heartbeat.clock = self._master.reactor
        defer.ensureDeferred(self._load()).addErrback(
            lambda failure: log.err(failure, "while reading the state of the app sources")
        )

    async def _load(self) -> None:
        state = self._master.db.state
        objectid = await state.getObjectId(*_STATE)
        found = await state.getState(objectid, self._key(), {})
        now = self._master.reactor.seconds()
        saved = recalled(Saved, found, "app sources") or Saved()
        alive = now if saved.alive is None else saved.alive
        self._last_run = LastRun(
            alive, now, saved.failing, frozenset(saved.owed), saved.empty, saved.hosts
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
            repository.failing = recalled(Failing, failing, repository.key)
        empty = last_run.empty.get(repository.key)
        if empty is not None and repository.empty is None:
            repository.empty = recalled(Failing, empty, repository.key)
        saved = last_run.hosts.pop(repository.host.name, None)
        outage = None if saved is None else recalled(Outage, saved, repository.host.name)
        if outage is not None:
            repository.host.recall(outage)
        if repository.key in last_run.owed or repository.missed_between(
            last_run.alive, last_run.over
        ):
            repository.host.owe(repository)

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
            "empty": {
                repository.key: [e.since, e.polls, e.why]
                for repository in self._repositories.values()
                if (e := repository.empty) is not None
            },
            "owed": [
                repository.key
                for repository in self._repositories.values()
                if repository in repository.host.owed
            ],
            "hosts": {host.name: astuple(host.outage) for host in self.hosts.values() if host.down},
        }
        report, document = self._report, ""
        if report is not None:
            now = self._master.reactor.seconds()
            document = report.take(self._repositories.values(), self, now)
        await state.setState(objectid, self._key(), saved)
        if report is not None:
            await report.write(document)

    def _stop(self) -> defer.Deferred[None]:
        """End. Only a write under way is waited for."""
        if self._network_call is not None:
            self._network_call.cancel()
            self._network_call = None
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None and heartbeat.running:
            heartbeat.stop()
        self._last_run = None
        return self._saving.run(lambda: None)


_of_master: WeakKeyDictionary[Any, Sources] = WeakKeyDictionary()


def of(master: Any) -> Sources:
    """Those of a master."""
    return _of_master.setdefault(master, Sources(master))
