# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that are run again when they fail, and whose output becomes a property.

What Buildbot lacked: its commands run once, and its `SetPropertyFromCommand` keeps all that a
command prints, whatever it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SUCCESS, WARNINGS
from buildbot.steps.shell import ShellCommand
from buildbot.util import asyncSleep

from .check_properties import TYPES

# Characters of what a command prints that are looked at.
_MOST = 4096


class Retry(NamedTuple):
    """`times` more attempts, the first after `pause` seconds, each next one after twice as many."""

    times: int
    pause: int


class SetProperty(NamedTuple):
    """The property `name`, which is of the type `kind`, and may be empty if it is `optional`."""

    name: str
    kind: str
    optional: bool = False


class Statuses:
    """What exit statuses mean: a warning, or that the build ends there; all others are failures."""

    def __init__(self, warn_on: Sequence[int], stop_on: Sequence[int]) -> None:
        self._stop_on = frozenset(stop_on)
        self.results = {**dict.fromkeys(stop_on, SUCCESS), **dict.fromkeys(warn_on, WARNINGS)}
        self.results[0] = SUCCESS

    def ended(self, step: BuildStep, status: int | None) -> None:
        """Let the build of `step` end if this says so."""
        assert step.build is not None
        if status in self._stop_on:
            # Of the steps that are left, Buildbot runs those that always run.
            step.build.terminate = True


class Attempts:
    """Runs the command of `step`, and keeps what it prints if that is wanted."""

    def __init__(self, step: BuildStep, retry: Retry | None, sets: SetProperty | None) -> None:
        self._step = step
        self._retry = retry or Retry(0, 0)
        self._sets = sets
        self._printed = ""

    def printed(self, text: str) -> None:
        """Keep some more of what the command prints."""
        if self._sets is not None:
            self._printed = (self._printed + text)[: _MOST + 1]

    async def run(self, attempt: Callable[[], Awaitable[int]], stdio: Any) -> int:
        """Run `attempt` until it is well, as often as it may be run; the result of the last one."""
        assert self._step.master is not None
        pause = self._retry.pause
        for number in range(self._retry.times + 1):
            self._printed = ""
            result = await attempt()
            if result == SUCCESS:
                return await self._set(stdio)
            if result != FAILURE or self._step.stopped or number == self._retry.times:
                break
            which = f"attempt {number + 2} of {self._retry.times + 1}"
            await stdio.addHeader(f"failed; {which} follows in {pause} s\n")
            # By seconds, so that it can be stopped.
            for _ in range(pause):
                if not self._step.stopped:
                    await asyncSleep(1, self._step.master.reactor)
            pause *= 2
        return result

    async def _set(self, stdio: Any) -> int:
        if self._sets is None:
            return SUCCESS
        name, kind, optional = self._sets
        assert self._step.build is not None
        text = self._step.build.properties.cleanupTextFromSecrets(self._printed).strip()
        wanted = TYPES[kind]
        value = text if optional and not text else wanted.check(text)
        if value is None or "\n" in text or len(self._printed) > _MOST:
            await stdio.addStderr(
                f"the property `{name}` must be {wanted.meaning}, and this is not\n"
            )
            return FAILURE
        await stdio.addHeader(f"property `{name}`: {value!a}\n")
        self._step.setProperty(name, value, self._step.name)
        return SUCCESS


class Run(ShellCommand):
    """Runs a command on the worker, again if it fails. Its output becomes the property `sets`."""

    def __init__(
        self,
        *,
        retry: Retry | None = None,
        sets: SetProperty | None = None,
        warn_on: Sequence[int] = (),
        stop_on: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        self._statuses = Statuses(warn_on, stop_on)
        super().__init__(decodeRC=self._statuses.results, warnOnWarnings=True, **kwargs)
        self._attempts = Attempts(self, retry, sets)

    async def run(self) -> int:  # type: ignore[override]  # BuildStep awaits either
        """Its exit status decides."""
        return await self._attempts.run(self._attempt, await self.addLog("stdio"))

    async def _attempt(self) -> int:
        command: Any = await self.makeRemoteShellCommand()
        update = command.remoteUpdate

        def seen(key: str, value: Any, is_flushed: bool) -> Any:
            if key == "stdout":
                self._attempts.printed(value)
            return update(key, value, is_flushed)

        command.remoteUpdate = seen
        await self.runCommand(command)
        self._statuses.ended(self, command.rc)
        return int(command.results())
