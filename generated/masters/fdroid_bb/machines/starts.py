# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell of workers that cannot be started: once, and again when that is over.

What Buildbot lacked: a build whose worker cannot be started is tried again for ever, with growing
pauses. Its reporters are told nothing, for a build that is tried again has not failed.

Buildbot offers no way to hear of it: this replaces a method.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from buildbot.interfaces import (
    LatentWorkerCannotSubstantiate,
    LatentWorkerFailedToSubstantiate,
    LatentWorkerSubstantiatiationCancelled,
)
from buildbot.util.state import StateMixin
from buildbot.worker.latent import AbstractLatentWorker
from twisted.internet import defer, threads
from twisted.python import log
from twisted.python.failure import Failure

from ..common import output
from ..common.process import describe, printable

# Attempts with one cause after which it is told.
TELL_AFTER = 3

# Causes that are known at once; of more the oldest is forgotten.
_MOST = 50

# What a master produces for its reporters: with the fields of a Cause, the `builders` of its
# workers, and `over`, which says what ended it, or None.
EVENT = ("worker-starts", "all", "changed")

_METRICS = """\
# HELP fdroid_bb_workers_not_starting workers of which several attempts to start have failed
# TYPE fdroid_bb_workers_not_starting gauge
fdroid_bb_workers_not_starting {failing}
# HELP fdroid_bb_worker_starts_failed_total failed attempts since the master started
# TYPE fdroid_bb_worker_starts_failed_total counter
fdroid_bb_worker_starts_failed_total {failed}
"""


@dataclass
class Cause:
    """Why workers cannot be started. It is over when one of them has started.

    `words` are of the last attempt. Unless `retried`, builds have failed for it.
    """

    workers: list[str] = field(default_factory=list)
    attempts: int = 0
    words: str = ""
    retried: bool = True
    told: bool = False


Note = Callable[[dict[str, Cause]], list[tuple[Cause, str | None]]]


class Starts(StateMixin):
    """What is known of the workers of one master, also by the next run of it."""

    def __init__(self, master: Any) -> None:
        self.master = master
        self.name = f"worker starts of {master.name}"
        self._turn = defer.DeferredLock()
        self._causes: dict[str, Cause] | None = None
        self._failed = 0

    def failed(self, worker: str, words: str, *, retried: bool) -> None:
        """An attempt to start it has failed; whether its build is tried again."""

        def note(causes: dict[str, Cause]) -> list[tuple[Cause, str | None]]:
            self._failed += 1
            cause = causes.setdefault(_same(words, worker), Cause())
            if len(causes) > _MOST:
                del causes[min(causes, key=lambda key: causes[key].told)]
            cause.workers = sorted({*cause.workers, worker})
            cause.attempts += 1
            cause.words = words
            cause.retried = retried
            if cause.told or cause.attempts < TELL_AFTER:
                return []
            cause.told = True
            return [(cause, None)]

        self._change(note)

    def started(self, worker: str) -> None:
        """It has started and connected."""

        def note(causes: dict[str, Cause]) -> list[tuple[Cause, str | None]]:
            over = [key for key, cause in causes.items() if worker in cause.workers]
            return [(causes.pop(key), f"{worker} has started") for key in over]

        self._change(note)

    def configured(self) -> None:
        """A configuration was loaded: who is no worker any more need not start."""

        def note(causes: dict[str, Cause]) -> list[tuple[Cause, str | None]]:
            names = {str(worker.name) for worker in self.master.config.workers}
            gone = [key for key, cause in causes.items() if not names & {*cause.workers}]
            return [(causes.pop(key), "they are no workers any more") for key in gone]

        self._change(note)

    def _change(self, note: Note) -> None:
        done = self._turn.run(lambda: defer.ensureDeferred(self._changed(note)))
        done.addErrback(lambda f: log.err(f, "while noting which workers start"))

    async def _changed(self, note: Note) -> None:
        is_first = self._causes is None
        if self._causes is None:
            saved: dict[str, Any] = await self.getState("causes", {})
            self._causes = {key: Cause(**cause) for key, cause in saved.items()}
        before = _saved(self._causes)
        events = note(self._causes)
        now = _saved(self._causes)
        if now != before:
            await self.setState("causes", now)
        for cause, over in events:
            if cause.told:
                self._tell(cause, over)
        if now != before or is_first:
            told = [cause for cause in self._causes.values() if cause.told]
            failing = {name for cause in told for name in cause.workers}
            text = _METRICS.format(failing=len(failing), failed=self._failed)
            path = "metrics/worker-starts.prom"
            await threads.deferToThread(output.write, self.master, path, text)

    def _tell(self, cause: Cause, over: str | None) -> None:
        who = ", ".join(cause.workers)
        if over is None:
            log.msg(f"workers: {who}: {cause.attempts} attempts to start failed: {cause.words}")
        else:
            log.msg(f"workers: {who}: attempts to start no longer fail: {over}")
        builders = [
            builder.name
            for builder in self.master.config.builders
            if {*builder.workernames} & {*cause.workers}
        ]
        message = {**asdict(cause), "builders": builders, "over": over}
        self.master.mq.produce(EVENT, message)


def _saved(causes: dict[str, Cause]) -> dict[str, Any]:
    return {key: asdict(cause) for key, cause in causes.items()}


_starts: WeakKeyDictionary[Any, Starts] = WeakKeyDictionary()


def of(master: Any) -> Starts:
    """Those of a master."""
    if master not in _starts:
        _starts[master] = Starts(master)
    return _starts[master]


def _same(words: str, worker: str) -> str:
    """What two attempts with the same cause have in common: not names, numbers and times."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", words.replace(worker, "#"))


def _words(worker: AbstractLatentWorker, error: Any) -> str:
    if isinstance(error, LatentWorkerFailedToSubstantiate) and error.args:
        return printable(str(error.args[-1]))
    if isinstance(error, defer.TimeoutError):
        return f"not ready after {worker.missing_timeout:g} seconds"
    return describe(error)


_notify = AbstractLatentWorker._fireSubstantiationNotifier


def _note_and_notify(worker: AbstractLatentWorker, result: Any) -> None:
    error = result.value if isinstance(result, Failure) else result
    # Without somebody who waits it is what follows from an earlier failure.
    if worker._substantiation_notifier:
        if result is True:
            of(worker.master).started(str(worker.name))
        elif not isinstance(error, LatentWorkerSubstantiatiationCancelled):
            retried = not isinstance(error, LatentWorkerCannotSubstantiate)
            of(worker.master).failed(str(worker.name), _words(worker, error), retried=retried)
    _notify(worker, result)


AbstractLatentWorker._fireSubstantiationNotifier = _note_and_notify  # type: ignore[method-assign,assignment]  # a patch
