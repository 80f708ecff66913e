# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep the log of a step beside what it made.

What Buildbot lacked: logs are in its database alone, and go when it is tidied, while an APK and the
log of its build belong together for years.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SKIPPED, SUCCESS
from buildbot.util import asyncSleep
from twisted.internet import threads

from ..common import blame, output
from ..common.output import Part, Refused

# Lines that are held in memory at once.
_CHUNK = 10_000

# How often lines are read that Buildbot gives twice, and seconds between.
_TRIES = 10
_PAUSE = 0.5


class SaveLog(BuildStep):
    """Writes the logs of the step named `step` to the file `to` of the output directory, whole or
    not at all.
    """

    renderables: Sequence[str] = ("to",)

    def __init__(self, *, step: str, to: Any, **kwargs: Any) -> None:
        self.step = step
        self.to = to
        super().__init__(**kwargs)

    async def run(self) -> int:  # type: ignore[override]  # BuildStep awaits either
        """Skipped if that step did not run."""
        assert self.build is not None
        assert self.master is not None
        steps = await self.master.data.get(("builds", self.build.buildid, "steps"))
        ran = [s["stepid"] for s in steps if s["name"] == self.step and s["started_at"]]
        if not ran:
            return SKIPPED
        try:
            with Part(output.place(self.master, self.to)) as part:
                await self._save(ran[-1], part)
        except (Refused, OSError) as e:
            await self.addCompleteLog("problem", f"{e}\n")
            return FAILURE
        return SUCCESS

    async def _save(self, stepid: int, part: Part) -> None:
        assert self.master is not None
        size, sum_ = 0, hashlib.sha256()
        logs = await self.master.data.get(("steps", stepid, "logs"))
        for log in [log for log in logs if log["name"] != blame.SUMMARY]:
            for first in range(0, log["num_lines"], _CHUNK):
                last = min(first + _CHUNK, log["num_lines"]) - 1
                lines = await self._lines(log, first, last)
                # The first character of a line says where it came from.
                marked = log["type"] == "s"
                data = "".join(f"{line[marked:]}\n" for line in lines).encode()
                size += len(data)
                sum_.update(data)
                await threads.deferToThread(part.file.write, data)
        await threads.deferToThread(part.commit, (size, sum_.hexdigest()))

    async def _lines(self, log: Mapping[str, Any], first: int, last: int) -> list[str]:
        """Buildbot compresses a log in the background once it is complete, and who reads it at that
        time gets some lines twice.
        """
        assert self.master is not None
        for _ in range(_TRIES):
            text = await self.master.db.logs.getLogLines(log["logid"], first, last)
            lines: list[str] = text.removesuffix("\n").split("\n")
            # Of a log in one piece it gives none twice, and counts what ends with \r otherwise.
            if len(lines) == last - first + 1 or log["type"] != "s":
                return lines
            await asyncSleep(_PAUSE, self.master.reactor)
        raise Refused(f"lines {first} to {last} of the log {log['name']} cannot be read")
