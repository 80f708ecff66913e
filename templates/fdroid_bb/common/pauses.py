# SPDX-License-Identifier: GPL-2.0-or-later
"""What is paused: one file each in a folder of the master's, so that it survives whatever happens.

`fdroid-bb pause` writes them: `everything`, `builder-NAME` or `app-APPID`, with the reason in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_FOLDER = "paused"

# Characters of a reason that are shown.
_WIDTH = 200

EVERYTHING = "everything"


def is_paused(master: Any, *names: str) -> bool:
    """Whether one of `names` is."""
    folder = Path(master.basedir, _FOLDER)
    return any((folder / name).exists() for name in names)


def names(master: Any) -> set[str]:
    """All that is paused."""
    try:
        return {path.name for path in Path(master.basedir, _FOLDER).iterdir()}
    except OSError:
        return set()


def told(master: Any) -> list[str]:
    """The same for people, each with its reason and since when."""
    lines = []
    for name in sorted(names(master)):
        path = Path(master.basedir, _FOLDER, name)
        try:
            since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            reason = path.read_text(errors="replace").strip()[:_WIDTH]
        except OSError:
            # It is no longer.
            continue
        what = name.replace("-", " ", 1)
        because = f": {reason}" if reason else ""
        lines.append(f"{what}, since {since:%Y-%m-%d %H:%M} UTC{because}")
    return lines
