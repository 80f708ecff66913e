# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells of each failed build what it failed of, and decides whether it is repeated.

What Buildbot lacked: a failed step says nothing of the reason, so that an app is blamed for a
network that was away; a build that lost its worker is repeated at once, and for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import re2
from buildbot.config.errors import error as config_error
from buildbot.process.results import EXCEPTION, FAILURE, RETRY
from buildbot.util.service import BuildbotService
from twisted.internet import defer

from ..common import blame
from ..common.process import printable
from . import rules
from .held import Held
from .log_end import last_lines
from .rules import FailureRule

# Characters of a reason in the status of a build.
_REASON = 200

# Lines from the end of the log that the summary has.
_SUMMARY = 40


@dataclass(frozen=True)
class Verdict:
    """What a build failed of, in one line, and how it ends; `pause` is in seconds."""

    kind: str
    words: str
    results: int
    pause: int = 0


class Failures(BuildbotService):
    """Repeats a build that failed by the infrastructure's fault after each of the pauses `repeat`,
    in seconds; after the last it ends as an exception.
    """

    name = "failures"

    def checkConfig(
        self,
        repeat: Sequence[int],
        *,
        infrastructure: Sequence[FailureRule],
        source: Sequence[FailureRule],
    ) -> None:
        """Refuse patterns that are not linear."""
        for rule in (*infrastructure, *source):
            try:
                rules.compiled(rule.pattern)
            except re2.error as e:
                config_error(f"{rule.words}: {rule.pattern!r} is no pattern for RE2: {e}")

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self,
        repeat: Sequence[int],
        *,
        infrastructure: Sequence[FailureRule],
        source: Sequence[FailureRule],
    ) -> defer.Deferred[None]:
        """Take the arguments, at the start and later."""
        self._repeat = repeat
        self._infrastructure = infrastructure
        self._source = source
        return defer.succeed(None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verdicts: WeakKeyDictionary[Any, Verdict] = WeakKeyDictionary()
        self._held: Held | None = None

    @property
    def held(self) -> Held:
        """Which requests wait for their pauses to end."""
        if self._held is None:
            self._held = Held(self.master)
        return self._held

    def stopService(self) -> Any:
        """Let the pauses be; the database has them."""
        self.held.stop()
        self._held = None
        return super().stopService()

    async def may_start(self, request: Any) -> bool:
        """Tell whether a request need not wait."""
        return not await self.held.is_held(request.id, self._repeat)

    async def step_ended(self, build: Any, step: Any) -> None:
        """Look for the reason if this is the step by which the build fails."""
        fails = step.results == EXCEPTION or (step.results == FAILURE and step.flunkOnFailure)
        if not fails or build in self._verdicts:
            return
        lines = await last_lines(self.master, step.stepid)
        verdict = await self._judge(build, step, lines)
        if verdict is None:
            return
        self._verdicts[build] = verdict
        _note(build, verdict, step.name)
        if verdict.kind == blame.INFRASTRUCTURE:
            # What runs all the same, such as what follows a failure, sees how it will end.
            build.results = verdict.results
        shown = "".join(f"{printable(line, 1000)}\n" for line in lines[-_SUMMARY:])
        await step.addCompleteLog(
            blame.SUMMARY, f"{verdict.words}\n\nThe end of the log:\n\n{shown}"
        )

    async def _judge(self, build: Any, step: Any, lines: Sequence[str]) -> Verdict | None:
        text = "\n".join(lines)
        found = rules.first(self._infrastructure, step.name, text)
        if found is not None:
            words = f"{found[0]}, in «{step.name}»: {_reason(found[1])}"
            return await self._of_infrastructure(build, words)
        if step.results == EXCEPTION:
            # Buildbot or a step of ours has failed, for reasons nobody has thought of.
            return None
        last = next((line for line in reversed(lines) if line.strip()), "nothing was said")
        words, reason = rules.first(self._source, step.name, text) or ("", last)
        said = ": ".join(part for part in (words, _reason(reason)) if part)
        return Verdict(blame.SOURCE, f"«{step.name}» failed: {said}", FAILURE)

    async def _of_infrastructure(self, build: Any, words: str) -> Verdict:
        words = f"infrastructure: {words}"
        done, times = await self.held.failures(build.requests[0].id), len(self._repeat)
        if self._asks_again(build):
            done = times = 0
        if done < times:
            pause = self._repeat[done]
            words += f"; repetition {done + 1} of {times} in {pause} s"
            return Verdict(blame.INFRASTRUCTURE, words, RETRY, pause)
        words += f"; {done} repetitions have failed too" if done else ""
        return Verdict(blame.INFRASTRUCTURE, words, EXCEPTION)

    def _asks_again(self, build: Any) -> bool:
        """Whether the scheduler itself asks again for what has failed."""
        name = build.getProperty("scheduler")
        schedulers = (s for s in self.master.allSchedulers() if s.name == name)
        return any(getattr(scheduler, "asks_again", False) for scheduler in schedulers)

    async def build_ended(self, build: Any, text: Sequence[str], results: int) -> Verdict | None:
        """What it failed of, if that says how it ends."""
        verdict = self._verdicts.pop(build, None)
        unstarted = list(text[:1]) == ["worker"]
        if unstarted or (results == RETRY and (verdict is None or verdict.kind == blame.SOURCE)):
            words = "the worker did not start" if unstarted else "the worker was lost"
            # Of those before it Buildbot knows nothing here.
            step = build.executedSteps[-1].name if build.executedSteps else "worker_preparation"
            verdict = await self._of_infrastructure(build, f"{words}, in «{step}»")
            _note(build, verdict, step)
        if verdict is None:
            return None
        await self.master.data.updates.setBuildProperties(build.buildid, build)
        if verdict.kind == blame.SOURCE:
            return Verdict(verdict.kind, verdict.words, results)
        if verdict.results == RETRY:
            self.held.hold(build.requests[0].id, verdict.pause)
            worker = build.workerforbuilder.worker
            if worker is not None:
                # As Buildbot does after an exception: the others of the queue go to other workers.
                worker.putInQuarantine()
        return verdict


def _note(build: Any, verdict: Verdict, step: str) -> None:
    build.setProperty(blame.PROPERTY, verdict.kind, blame.SETTER)
    build.setProperty(blame.STEP, step, blame.SETTER)


def _reason(text: str) -> str:
    """In one line, also if it stands in two."""
    return printable(" ".join(text.split()), _REASON)
