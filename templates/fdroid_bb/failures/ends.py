# SPDX-License-Identifier: GPL-2.0-or-later
"""Has the master's service `Failures` asked where steps and builds end, and before builds start.

Buildbot offers no way to do so for all builders: this replaces three methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buildbot.process.build import Build
from buildbot.process.builder import Builder
from buildbot.process.results import EXCEPTION
from twisted.internet import defer
from twisted.python import log

from .service import Failures

_step_done: Any = Build.stepDone
_build_finished: Any = Build.buildFinished
_can_start: Any = Builder.canStartBuild


class _Lost:
    """In place of a worker that was lost, of which Buildbot asks this where a build ends in an
    exception, and then whether it is there.
    """

    def __bool__(self) -> bool:
        return False

    def putInQuarantine(self) -> None:
        """There is nothing left to."""


def _service(master: Any) -> Failures | None:
    found = master.service_manager.namedServices.get(Failures.name)
    return found if isinstance(found, Failures) else None


async def _look_at_step(build: Any, results: Any, step: Any) -> Any:
    terminate = await _step_done(build, results, step)
    service = _service(build.master)
    # With a reason, somebody has stopped it, or the master stops.
    if service is not None and build.stopped_reason is None and build.conn:
        try:
            await service.step_ended(build, step)
        except Exception:
            log.err(None, f"while looking why {step.name} failed")
    return terminate


async def _end_build(build: Any, text: Sequence[str], results: int) -> None:
    service = _service(build.master)
    if service is not None and build.stopped_reason is None:
        try:
            verdict = await service.build_ended(build, text, results)
        except Exception:
            log.err(None, f"while looking why {build} failed")
        else:
            if verdict is not None and build.stopped_reason is None:
                text, results = [verdict.words], verdict.results
                build.results = results
    if results == EXCEPTION and build.workerforbuilder.worker is None:
        build.workerforbuilder.worker = _Lost()
    await _build_finished(build, text, results)


async def _may_start(builder: Any, worker: Any, request: Any) -> bool:
    service = _service(builder.master)
    if service is not None and not await service.may_start(request):
        return False
    return bool(await _can_start(builder, worker, request))


def _deferred(replacement: Any) -> Any:
    return lambda *args: defer.ensureDeferred(replacement(*args))


Build.stepDone = _deferred(_look_at_step)  # type: ignore[method-assign]  # a patch
Build.buildFinished = _deferred(_end_build)  # type: ignore[method-assign]  # a patch
Builder.canStartBuild = _deferred(_may_start)  # type: ignore[method-assign]  # a patch
