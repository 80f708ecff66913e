# SPDX-License-Identifier: GPL-2.0-or-later
"""A checkout that takes a server's failures for what they mostly are: over in a moment.

What Buildbot lacked: its Git repeats a clone, but no fetch; one 503 ends the build.
"""

from __future__ import annotations

from typing import Any

from buildbot.steps.source.git import Git
from twisted.internet import defer, task

# Seconds before each repetition.
PAUSES = (5, 30, 120)


class PatientGit(Git):
    """Buildbot's Git, which repeats what asks a server and fails. Of several checkouts of a build
    the first one says which revision was built.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Logs are public, and the environment is not.
        super().__init__(logEnviron=False, **kwargs)

    def updateSourceProperty(self, name: str, value: Any, source: str = "") -> None:
        """Keep what an earlier checkout has said."""
        if name != "got_revision" or self.getProperty(name) is None:
            super().updateSourceProperty(name, value, source)

    @defer.inlineCallbacks
    def _dovccmd(  # type: ignore[override]
        self, command: list[str], abandonOnFailure: bool = True, **kwargs: Any
    ) -> Any:
        assert self.master is not None
        for pause in PAUSES if _asks(command) else ():
            result = yield super()._dovccmd(command, abandonOnFailure=False, **kwargs)
            # With `collectStdout` it is the output; what asks a server has none that is wanted.
            if result == 0 or self.stopped:
                return result
            yield self.stdio_log.addHeader(f"git {command[0]} failed, repeated in {pause} s\n")
            for _ in range(pause):
                if self.stopped:
                    return result
                yield task.deferLater(self.master.reactor, 1, lambda: None)
        return (yield super()._dovccmd(command, abandonOnFailure, **kwargs))


def _asks(command: list[str]) -> bool:
    """Whether a command of git asks a server."""
    return command[0] in ("clone", "fetch") or command[:2] == ["submodule", "update"]
