# SPDX-License-Identifier: GPL-2.0-or-later
"""One build for many that ended: once no other has ended for so long, at most after so long.

What Buildbot lacked: a build that others trigger runs after each of them, and what makes one of
several changes waits for changes only, for as long as they come.
"""

from __future__ import annotations

from typing import Any

from buildbot.process.properties import Properties
from buildbot.process.results import SUCCESS
from buildbot.schedulers.triggerable import Triggerable
from twisted.internet import defer
from twisted.python import log

# Since when it waits, and for how long at least, in its state: [first, last], in Unix time.
_WAITS = "waits"


class QuietTriggerable(Triggerable):
    """Asks for its builds `quietTime` seconds after it was triggered last, and if `maxWait` is
    given at most so long after it was triggered first. What it waits for survives a restart.
    """

    def checkConfig(  # type: ignore[override]
        self, *, quietTime: int, maxWait: int | None = None, **kwargs: Any
    ) -> None:
        """Take two arguments more."""
        super().checkConfig(**kwargs)

    @defer.inlineCallbacks
    def reconfigService(  # type: ignore[override]
        self, *, quietTime: int, maxWait: int | None = None, **kwargs: Any
    ) -> Any:
        """Take the arguments, at the start and later."""
        self.quietTime = quietTime
        self.maxWait = maxWait
        yield super().reconfigService(**kwargs)
        if self._waits is not None:
            self._set_timer()

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._waits: list[float] | None = None
        self._timer: Any = None

    @defer.inlineCallbacks
    def activate(self) -> Any:
        """Go on waiting where the last run ended."""
        yield super().activate()
        self._waits = yield self.getState(_WAITS, None)
        if self._waits is not None:
            self._set_timer()

    @defer.inlineCallbacks
    def deactivate(self) -> Any:
        """Wait no longer in this run."""
        yield super().deactivate()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def trigger(  # type: ignore[override]  # nobody waits for what has not begun
        self, waited_for: bool, sourcestamps: Any = None, set_props: Any = None, **_: Any
    ) -> tuple[defer.Deferred[Any], defer.Deferred[Any]]:
        """Note it. What is asked for has the properties of the scheduler alone, for the builds that
        it follows have several.
        """
        noted = defer.ensureDeferred(self._note())
        return noted, defer.succeed((SUCCESS, {}))

    async def _note(self) -> tuple[None, dict[int, int]]:
        now = self.master.reactor.seconds()
        self._waits = [self._waits[0] if self._waits else now, now]
        await self.setState(_WAITS, self._waits)
        self._set_timer()
        return None, {}

    def _set_timer(self) -> None:
        assert self._waits is not None
        first, last = self._waits
        at = last + self.quietTime
        if self.maxWait is not None:
            at = min(at, first + self.maxWait)
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, at - self.master.reactor.seconds())
        self._timer = self.master.reactor.callLater(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        done = defer.ensureDeferred(self._ask())
        done.addErrback(lambda f: log.err(f, f"while {self.name} asks for its builds"))

    async def _ask(self) -> None:
        assert self._waits is not None
        waits, self._waits = self._waits, None
        properties = Properties()
        properties.updateFromProperties(self.properties)
        seconds = self.master.reactor.seconds() - waits[1]
        await self.addBuildsetForSourceStampsWithDefaults(
            f"nothing has ended for {seconds:.0f} s",
            waited_for=False,
            priority=self.priority,
            properties=properties,
        )
        # Last: a master that dies meanwhile asks once more, not never.
        if self._waits is None:
            await self.setState(_WAITS, None)
