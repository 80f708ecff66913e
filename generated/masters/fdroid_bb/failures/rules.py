# SPDX-License-Identifier: GPL-2.0-or-later
"""What is looked for in the log of a step that failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import re2


@dataclass(frozen=True)
class FailureRule:
    """What to call a failure, and the pattern that tells it; of all steps if none are named."""

    words: str
    pattern: str
    steps: Sequence[str] = field(default_factory=list)


@cache
def compiled(pattern: str) -> Any:
    """The pattern, whose `^` and `$` match at lines. re2.error if it is not linear."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(f"(?m){pattern}", options)


def first(rules: Iterable[FailureRule], step: str, text: str) -> tuple[str, str] | None:
    """Of all rules that match, the words of the one that does so first, and the reason: its group
    `reason`, or else the line.
    """
    found = None
    for rule in rules:
        if rule.steps and step not in rule.steps:
            continue
        match = compiled(rule.pattern).search(text)
        if match is not None and (found is None or match.start() < found[0]):
            found = (match.start(), rule.words, match.groupdict().get("reason"))
    if found is None:
        return None
    start, words, reason = found
    line = text[text.rfind("\n", 0, start) + 1 :].partition("\n")[0]
    return words, line if reason is None else reason
