# SPDX-License-Identifier: GPL-2.0-or-later
"""How the newest build of a version ended, and why, for `fdroid-bb doctor`.

What Buildbot lacked: who submits a change is told neither how its build ended nor why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from buildbot.process.results import EXCEPTION, FAILURE, SUCCESS, WARNINGS

from ..common import blame, pauses
from ..common.process import printable
from ..machines import startable
from .known import builders_of, newest_requests

# Of the log of a step that failed, as many lines are looked at, and as many of them told.
_LOOKED_AT = 400
_TOLD = 8
_WIDTH = 300

# How this project's programs say what is wrong, and the remedy.
_MESSAGE = re.compile(r"\s*(error|help): ")


async def problems(master: Any, category: str) -> list[str]:
    """What keeps builders from building that changes of a category are for."""
    builders = builders_of(master, category)
    says = [says for name, says in await startable.blocked(master) if name in builders]
    stops = {pauses.EVERYTHING, *(f"builder-{name}" for name in builders)}
    return says + [f"paused: {name}" for name in sorted(stops & pauses.names(master))]


async def last_builds(master: Any, category: str, wanted: Collection[str]) -> list[str]:
    """One JSON object for each of `wanted`, `APPID:VERSIONCODE`, that was ever requested.

    `request` is the number of its newest request, `ended` whether that is over and `well` whether
    it was built. If it was begun: `status` is what its newest build says of itself, `step` the step
    that failed and `lines` what that said last, `page` that of the build below the master's.
    """
    found = await newest_requests(master, category, wanted)
    rows = [await _last_build(master, key, row) for key, row in found.items()]
    return [json.dumps(row) for row in rows]


async def _last_build(master: Any, key: str, request: Any) -> dict[str, Any]:
    ended = bool(request.complete)
    well = ended and request.results in (SUCCESS, WARNINGS)
    row = {"build": key, "request": request.id, "ended": ended, "well": well}
    builds = await master.data.get(("buildrequests", request.id, "builds"))
    if not builds:
        return row
    build = max(builds, key=lambda build: build["buildid"])
    row["status"] = printable(build["state_string"], _WIDTH)
    row["page"] = f"#/builders/{build['builderid']}/builds/{build['number']}"
    steps = await master.data.get(("builds", build["buildid"], "steps"))
    bad = [step for step in steps if step["results"] in (FAILURE, EXCEPTION)]
    if bad and not well:
        row["step"] = printable(bad[0]["name"], _WIDTH)
        row["lines"] = await _lines(master, bad[0]["stepid"])
    return row


async def _lines(master: Any, step: int) -> list[str]:
    """What a step said was wrong, or its last words."""
    logs = await master.data.get(("steps", step, "logs"))
    said: list[str] = []
    # What explains a failure says again what these say.
    for log in (log for log in logs if log["name"] != blame.SUMMARY):
        last = log["num_lines"]
        text = await master.db.logs.getLogLines(log["logid"], max(0, last - _LOOKED_AT), last)
        # Of a command's log, the first character says which stream the line is of.
        streams = ["" if log["type"] != "s" else line[:1] for line in text.splitlines()]
        lines = [line[len(s) :] for line, s in zip(text.splitlines(), streams, strict=True)]
        said += [line for line, s in zip(lines, streams, strict=True) if s != "h"]
    said = [line for line in said if line.strip()]
    messages = [line for line in said if _MESSAGE.match(line)]
    return [printable(line, _WIDTH) for line in (messages[:_TOLD] or said[-_TOLD:])]
