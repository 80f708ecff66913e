# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a master that goes from one configuration to another and back do what each one says.

What Buildbot lacked, as 4.3.0 is:

- A service goes on comparing with the arguments it was first given. On the way from A to B and back
  to A it finds nothing to do, and stays B.
- A worker that starts when it is needed never attaches again to a builder that was taken away and
  came back: it takes the entry of the builder that is gone for the new one's (buildbot#9135). And
  no worker attaches again if the configuration in between was applied in part only.
- A worker that is told, while it builds, that its builder is gone stops the command and never
  says so: the build waits for ever.
- A builder that is taken away while it builds forgets its master. Its build cannot take a lock any
  more, nor give one back, and its request is never finished.

Buildbot offers no way to have it otherwise: this replaces methods.
"""

from __future__ import annotations

from typing import Any

from buildbot.process.builder import Builder
from buildbot.util.service import BuildbotService
from buildbot.worker.base import AbstractWorker
from buildbot.worker.latent import AbstractLatentWorker
from twisted.internet import defer
from twisted.python import log

_take = BuildbotService.reconfigServiceWithSibling
_take_worker = AbstractWorker.reconfigServiceWithSibling
_update_latent = AbstractLatentWorker.updateWorker
_finished = AbstractWorker.buildFinished
_send_builders = AbstractWorker.sendBuilderList


@defer.inlineCallbacks
def _take_and_remember(service: BuildbotService, sibling: Any) -> Any:
    result = yield _take(service, sibling)
    service._config_args = sibling._config_args
    service._config_kwargs = sibling._config_kwargs
    return result


@defer.inlineCallbacks
def _take_and_attach(worker: AbstractWorker, sibling: Any) -> Any:
    yield _take_worker(worker, sibling)
    yield _attach_missing(worker)


@defer.inlineCallbacks
def _attach_missing(worker: AbstractWorker) -> Any:
    """Attach a worker to its builders that lack it, but those of whose name it builds."""
    missing = [
        builder
        for builder in worker.botmaster.getBuildersForWorker(worker.name)
        if builder._find_wfb_by_worker(worker) is None and builder.name not in _busy(worker)
    ]
    if isinstance(worker, AbstractLatentWorker):
        if missing:
            yield worker.updateWorker()
    elif worker.conn is not None:
        for builder in missing:
            yield worker.attachBuilder(builder)


def _busy(worker: AbstractWorker) -> set[str]:
    """The names of the builders that it builds for; some may be gone."""
    return {entry.builder_name for entry in worker.workerforbuilders.values() if entry.isBusy()}


def _is_stale(worker: AbstractWorker, entry: Any) -> bool:
    builder = worker.botmaster.builders.get(entry.builder_name)
    return builder is None or entry not in builder.workers


def _drop_stale_and_update(worker: AbstractLatentWorker) -> Any:
    for entry in list(worker.workerforbuilders.values()):
        # One that builds counts as long as it does: there is only one machine.
        if _is_stale(worker, entry) and not entry.isBusy():
            worker.removeWorkerForBuilder(entry)
    return _update_latent(worker)


def _finish_and_send(worker: AbstractWorker, entry: Any) -> None:
    _finished(worker, entry)
    if worker.running and worker.botmaster is not None and _is_stale(worker, entry):
        done = worker.updateWorker().addCallback(lambda _: _attach_missing(worker))
        done.addErrback(log.err, f"while {worker.name} was told its builders")


def _send_once_it_stops_nothing(worker: AbstractWorker) -> Any:
    """Tell a worker its builders, but of one that builds only after its build that it is gone."""
    wanted = {builder.name for builder in worker.botmaster.getBuildersForWorker(worker.name)}
    told = {name for name, _ in worker._old_builder_list or ()}
    return defer.succeed(None) if told & _busy(worker) - wanted else _send_builders(worker)


class _Kept:
    """An attribute that is not set to None."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, builder: Any, owner: type) -> Any:
        return None if builder is None else builder.__dict__.get(self._name)

    def __set__(self, builder: Any, value: Any) -> None:
        if value is not None:
            builder.__dict__[self._name] = value


BuildbotService.reconfigServiceWithSibling = _take_and_remember  # type: ignore[method-assign,assignment]  # a patch
AbstractWorker.reconfigServiceWithSibling = _take_and_attach  # type: ignore[method-assign,assignment]
AbstractLatentWorker.updateWorker = _drop_stale_and_update  # type: ignore[method-assign]
AbstractWorker.sendBuilderList = _send_once_it_stops_nothing  # type: ignore[method-assign,assignment]
AbstractWorker.buildFinished = _finish_and_send  # type: ignore[method-assign]
Builder.master = _Kept("master")  # type: ignore[assignment]
Builder.botmaster = _Kept("botmaster")  # type: ignore[attr-defined]
