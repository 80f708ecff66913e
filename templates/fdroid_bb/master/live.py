# SPDX-License-Identifier: GPL-2.0-or-later
"""Write down which configuration a master runs and whether all of it works, for `fdroid-bb apply`.

What Buildbot lacked: nothing but a line of its log tells whether it took a new configuration, took
half of it, or refused it, and that line does not say which one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from buildbot.util.service import BuildbotService
from twisted.internet import defer, threads
from twisted.python import log

from ..common import output
from ..machines import starts
from . import health

_FILE = "fdroid-bb-live.json"

# What Buildbot logs when it has started, and when it has loaded a configuration: how that ended.
_ENDS = {
    "BuildMaster is running": "complete",
    "configuration update complete": "complete",
    "WARNING: configuration update partially applied": "partial",
    "configuration update aborted": "aborted",
}


def _part(masters: Path, folder: str) -> str:
    """The digest of one folder's files, as fdroid-bb computes it of what it writes.

    What else lies in the folder belongs to somebody else, and the manifest does not list it.
    """
    try:
        manifest = json.loads((masters / "manifest.json").read_text())
    except FileNotFoundError:
        return ""
    lines = [
        f"{path} {hashlib.sha256((masters / path).read_bytes()).hexdigest()}\n"
        for path in sorted(manifest["files"])
        if path.startswith(f"{folder}/")
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


_RUNTIME = Path(__file__).resolve().parents[1]

# Once: what was imported stays, whatever becomes of the files.
_RUNTIME_DIGEST = _part(_RUNTIME.parent, _RUNTIME.name)


class Live(BuildbotService):
    """`config_file` is the master's, beside its other files in a folder of its own."""

    name = "fdroid-bb"

    def __init__(self, config_file: str) -> None:
        folder = Path(config_file).resolve().parent
        super().__init__(config=_part(folder.parent, folder.name))
        self._config = ""
        self._updates = 0
        self._live: dict[str, Any] = {}
        self._health: health.Health | None = None

    def checkConfig(self, config: str) -> None:
        """Nothing to check."""

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, config: str
    ) -> defer.Deferred[None]:
        """Take the digest of the configuration that is being loaded."""
        self._config = config
        return defer.succeed(None)

    def reconfigServiceWithSibling(self, sibling: Any) -> Any:
        """Also keep the new arguments: Buildbot goes on comparing with the first ones."""
        self._config_kwargs = sibling._config_kwargs
        self.configured = True
        return self.reconfigService(**sibling._config_kwargs)

    def startService(self) -> Any:
        """Listen to the log."""
        self._health = health.Health(self.master, self._found)
        log.addObserver(self._heard)
        return super().startService()

    def stopService(self) -> Any:
        """Listen no longer."""
        log.removeObserver(self._heard)
        if self._health is not None:
            self._health.stop()
        return super().stopService()

    def _heard(self, event: dict[str, Any]) -> None:
        said = event.get("message") or ("",)
        ended = [end for text, end in _ENDS.items() if str(said[0]).startswith(text)]
        if not ended:
            return
        self._updates += 1
        # The health is that of an earlier load until the new one's is known.
        self._live = {"health": {"update": 0, "problems": []}} | self._live
        self._live |= {
            "pid": os.getpid(),
            "config": self._config,
            "runtime": _RUNTIME_DIGEST,
            "updates": self._updates,
            "ended": ended[0],
        }
        self._write()
        assert self._health is not None
        self._health.loaded(self._updates)
        starts.of(self.master).configured()

    async def _found(self, update: int, problems: list[health.Problem]) -> None:
        old = self._live["health"]
        new: dict[str, Any] = {
            "update": update,
            "problems": [p._asdict() for p in problems],
        }
        if new != old:
            for problem in new["problems"]:
                if problem not in old["problems"]:
                    log.msg(f"health: {problem['says']}")
            self._live["health"] = new
            self._write()
        text = health.metrics(problems, self.master.reactor.seconds())
        await threads.deferToThread(output.write, self.master, "metrics/health.prom", text)

    def _write(self) -> None:
        with tempfile.NamedTemporaryFile(
            "w", dir=self.master.basedir, prefix=".live-", delete=False
        ) as file:
            json.dump(self._live, file)
        Path(file.name).replace(Path(self.master.basedir, _FILE))
