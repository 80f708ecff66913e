# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of some files only.

What Buildbot lacked: its filters look at branches and properties, but for files they want a
function, which is another one after each reconfig, and so replaces the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from buildbot.util import ComparableMixin


class ChangedFiles(ComparableMixin):
    """For `filter_fn`: takes a change of a file that matches one of `patterns`, in which `*` stands
    for any characters but `/`, and `**` for any at all.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("patterns",)

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = list(patterns)
        # Buildbot writes its filters down by their names.
        self.__name__ = f"files of {', '.join(patterns)}: "
        self._matches = [re.compile(_regex(pattern)) for pattern in patterns]

    def __call__(self, change: Any) -> bool:
        """Tell whether to take it."""
        return any(match.fullmatch(file) for file in change.files for match in self._matches)


def _regex(pattern: str) -> str:
    stands = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "(?s:" + "".join(stands.get(part) or re.escape(part) for part in parts) + ")"
