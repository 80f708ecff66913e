# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell whether a master works: all that is configured runs, and every builder can build.

What Buildbot lacked: a service that fails to start says so in a line of the log at most. The
master calls itself running, and what is missing is noticed when builds wait for ever.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from buildbot.changes.pb import PBChangeSource
from buildbot.util.service import ClusteredBuildbotService
from twisted.internet import defer, task
from twisted.python import log
from twisted.python.failure import Failure

from ..common.process import describe
from ..machines import startable

# Seconds that services may take to start after a configuration was loaded; how often they are
# looked at until then, and how often all is looked at later.
BOUND = 60.0
_LOOK = 0.1
_AGAIN = 60.0

# Of Buildbot's messages the ones that say that a service failed, and which.
_FAILED = re.compile(
    r"WARNING: ClusteredService\((.*)\) "
    r"(?:is only partially active|got exception while trying to claim|failed during activity poll)",
    re.DOTALL,
)

# Why the services of a name have failed since they were last looked at. Buildbot hands the
# exception to the log and to nobody else.
_failures: dict[str, str] = {}


def _heard(event: dict[str, Any]) -> None:
    if event.get("isError") and (found := _FAILED.match(str(event.get("why") or ""))):
        error = getattr(event.get("failure"), "value", None)
        _failures[found[1]] = describe(error) if error is not None else "see twistd.log"


# From the start: services may fail before the one that reports on them has started.
log.addObserver(_heard)


def _unless_cancelled(failure: Failure) -> None:
    if not failure.check(defer.CancelledError):
        log.err(failure, "while looking at the master's health")


class Problem(NamedTuple):
    """Something that does not work. `kind` and `name` stay the same as long as it does not."""

    kind: str
    name: str
    says: str


KINDS = ("builder", "permissions", "poller", "port", "scheduler", "service")


class Health:
    """Finds out how healthy a master is, after each load of a configuration and from then on.

    `report` is called with all problems whenever they may have changed.
    """

    def __init__(self, master: Any, report: Callable[[int, list[Problem]], Any]) -> None:
        self._master = master
        self._report = report
        self._watching: defer.Deferred[None] = defer.succeed(None)
        # A failure is its service's for as long as that is as active as it was then.
        self._failed: dict[int, tuple[Any, bool, str]] = {}

    def loaded(self, update: int) -> None:
        """Begin anew: a configuration was loaded, the one of this number."""
        self.stop()
        self._watching = defer.ensureDeferred(self._watch(update))
        self._watching.addErrback(_unless_cancelled)

    def stop(self) -> None:
        """Look no longer."""
        self._watching.cancel()

    async def _watch(self, update: int) -> None:
        reactor = self._master.reactor
        # Not within the log's observer that has heard of the load.
        await task.deferLater(reactor, 0)
        end = reactor.seconds() + BOUND
        outside = _outside(self._master)
        problems, late = self._inside()
        while late and reactor.seconds() < end:
            await task.deferLater(reactor, _LOOK)
            problems, late = self._inside()
        while True:
            try:
                await self._report(update, sorted({*problems, *late, *await outside}))
            except Exception as e:
                # A full disk, say. What could not be told is told the next time.
                log.err(e, "while telling how healthy the master is")
            await task.deferLater(reactor, _AGAIN)
            outside = _outside(self._master)
            problems, late = self._inside()

    def _inside(self) -> tuple[list[Problem], list[Problem]]:
        """What fails in this process, and what may still be on its way."""
        self._note_failures()
        problems: list[Problem] = []
        late: list[Problem] = []
        for kind, name, service in _configured(self._master):
            found = self._of_service(kind, name, service)
            if found is not None:
                (problems if found[0] else late).append(Problem(kind, name, found[1]))
        problems += _ports(self._master)
        return problems, late

    def _note_failures(self) -> None:
        failures = dict(_failures)
        _failures.clear()
        known: dict[int, tuple[Any, bool, str]] = {}
        for manager in _managers(self._master).values():
            for name, service in manager.namedServices.items():
                active = bool(getattr(service, "active", False))
                if name in failures:
                    known[id(service)] = (service, active, failures[name])
                elif (old := self._failed.get(id(service))) and old[:2] == (service, active):
                    known[id(service)] = old
        self._failed = known

    def _of_service(self, kind: str, name: str, service: Any) -> tuple[bool, str] | None:
        """What is wrong with a service, and whether that is known for good."""
        if service is None:
            return True, f"the {kind} `{name}` was not started; twistd.log says why"
        why = getattr(service, "problem", None)
        if why is None and id(service) in self._failed:
            why = self._failed[id(service)][2]
        if why is not None:
            return True, f"the {kind} `{name}` does not work: {why}"
        if not service.running:
            return False, f"the {kind} `{name}` has not started within {BOUND:g} s"
        if isinstance(service, ClusteredBuildbotService) and not (
            service.active or self._master.config.multiMaster
        ):
            return False, f"the {kind} `{name}` has not been claimed within {BOUND:g} s"
        return None


def _managers(master: Any) -> dict[str, Any]:
    return {
        "poller": master.change_svc,
        "scheduler": master.scheduler_manager,
        "service": master.service_manager,
    }


def _configured(master: Any) -> Iterator[tuple[str, str, Any]]:
    """The kind and name of each service that the configuration asks for, and itself."""
    for kind, manager in _managers(master).items():
        for name in manager.get_service_config(master.config):
            service = manager.namedServices.get(name)
            yield "port" if isinstance(service, PBChangeSource) else kind, name, service


def _ports(master: Any) -> Iterator[Problem]:
    """The ports of workers and of the web page, as far as they are not open."""
    # A local worker has no password, and no connection.
    if any(worker.password for worker in master.workers.workers.values()):
        port = str(master.config.protocols.get("pb", {}).get("port") or "")
        full = port if ":" in port else f"tcp:{port}"
        dispatcher = master.pbmanager.dispatchers.get(full)
        if port and not (dispatcher is not None and _is_open(dispatcher.port)):
            yield Problem("port", "workers", f"the port for workers is not open: {full}")
    port = master.config.www.get("port")
    if port:
        listening = getattr(master.www.port_service, "_waitingForPort", None)
        if not _is_open(getattr(listening, "result", None)):
            yield Problem("port", "web", f"the port of the web page is not open: {port}")


def _is_open(port: Any) -> bool:
    return bool(getattr(port, "connected", False))


def _outside(master: Any) -> defer.Deferred[list[Problem]]:
    """Who can read the master's files, and which builders have no worker that can be started.

    Never fails, and has an end to its time.
    """
    return defer.ensureDeferred(_look_outside(master))


async def _look_outside(master: Any) -> list[Problem]:
    blocked = startable.blocked(master)
    mode = await startable.in_thread(master, _mode, master.basedir)
    problems = [] if isinstance(mode, str) else list(_permissions(master.basedir, mode))
    return [*problems, *(Problem("builder", name, says) for name, says in await blocked)]


def _mode(path: str) -> int:
    return Path(path).stat().st_mode


def _permissions(basedir: str, mode: int) -> Iterator[Problem]:
    if mode & 0o077:
        says = (
            f"other users can enter `{basedir}` (mode {mode & 0o777:04o}), where passwords and "
            f"the key of logins are: run `chmod 700 {basedir}`"
        )
        yield Problem("permissions", "base directory", says)


def metrics(problems: list[Problem], now: float) -> str:
    """For Prometheus: how many problems of each kind, and when that was found out."""
    counts = Counter(problem.kind for problem in problems)
    lines = [
        "# HELP fdroid_bb_health_problems parts of the master that do not work",
        "# TYPE fdroid_bb_health_problems gauge",
        *(f'fdroid_bb_health_problems{{kind="{kind}"}} {counts[kind]}' for kind in KINDS),
        "# HELP fdroid_bb_health_checked_timestamp_seconds when that was found out",
        "# TYPE fdroid_bb_health_checked_timestamp_seconds gauge",
        f"fdroid_bb_health_checked_timestamp_seconds {now:.0f}",
    ]
    return "\n".join(lines) + "\n"
