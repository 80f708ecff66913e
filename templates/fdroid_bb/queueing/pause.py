# SPDX-License-Identifier: GPL-2.0-or-later
"""Start no build of what is paused: one app, one builder, or everything.

What Buildbot lacked: it pauses workers, one by one. A builder can only be left without workers, and
an app not at all. What waits goes on waiting, also over a restart; what runs goes on running.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from buildbot.util.service import BuildbotService
from twisted.internet import defer, task

from ..common import pauses

# Seconds until what is resumed starts.
_LOOK = 5


def next_worker(builder: Any, workers: Sequence[Any], _: Any) -> Any:
    """For `select_next_worker`: any, as Buildbot's own; none while the builder is paused."""
    if pauses.is_paused(builder.master, pauses.EVERYTHING, f"builder-{builder.name}"):
        return None
    return secrets.choice(workers) if workers else None


def app_may_start(builder: Any, _: Any, request: Any) -> bool:
    """For `canStartBuild`: unless the app is paused."""
    app = request.properties.getProperty("packageName")
    # Properties are not checked yet, and this one becomes the name of a file.
    return not pauses.names(builder.master) & {f"app-{app}"}


class Pauses(BuildbotService):
    """Has builds start once they are no longer paused."""

    name = "pauses"

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()
        self._looks: task.LoopingCall | None = None

    def checkConfig(self) -> None:
        """Nothing to check."""

    def reconfigService(self) -> defer.Deferred[None]:  # type: ignore[override]  # no arguments
        """Nothing to take."""
        return defer.succeed(None)

    def startService(self) -> Any:
        """Look from now on."""
        self._looks = task.LoopingCall(self._look)
        self._looks.clock = self.master.reactor
        self._looks.start(_LOOK)
        return super().startService()

    def stopService(self) -> Any:
        """Look no longer."""
        if self._looks is not None:
            self._looks.stop()
            self._looks = None
        return super().stopService()

    def _look(self) -> None:
        before, self._known = self._known, pauses.names(self.master)
        if before - self._known:
            self.master.botmaster.maybeStartBuildsForAllBuilders()
