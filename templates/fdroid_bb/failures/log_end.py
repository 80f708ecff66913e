# SPDX-License-Identifier: GPL-2.0-or-later
"""The last lines that a step has logged. Strangers wrote them."""

from __future__ import annotations

import re
from typing import Any

# Of each log. A line is cut, and read in blocks, for it may have 64 KiB.
_LINES = 200
_BLOCK = 20
_WIDTH = 1000
_CHARACTERS = 64 * 1024

# What colours a terminal.
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


async def last_lines(master: Any, stepid: int) -> list[str]:
    """The ends of all logs of a step, one after the other."""
    lines: list[str] = []
    for entry in await master.data.get(("steps", stepid, "logs")):
        # HTML says again what a text says.
        if entry["type"] != "h":
            lines += await _end(master, entry)
    return lines


async def _end(master: Any, entry: Any) -> list[str]:
    lines: list[str] = []
    end, room = entry["num_lines"], _CHARACTERS
    first = max(0, end - _LINES)
    while end > first and room > 0:
        start = max(first, end - _BLOCK)
        content: str = await master.db.logs.getLogLines(entry["logid"], start, end - 1) or ""
        for line in reversed(content.removesuffix("\n").split("\n")):
            if entry["type"] == "s":
                # What Buildbot says itself, of which only this is a reason.
                if line.startswith("h") and not line.startswith("hcommand timed out"):
                    continue
                line = line[1:]
            lines.append(_COLOUR.sub("", line)[:_WIDTH])
            room -= len(lines[-1])
        end = start
    return lines[::-1]
