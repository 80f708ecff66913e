# SPDX-License-Identifier: GPL-2.0-or-later
"""Check what arrives from outside before any step uses it.

What Buildbot lacked: a property of a submitted change is whatever its sender wrote, and steps
put properties into commands, file names and pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import re2
from buildbot.config.errors import error as config_error
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SUCCESS

from ..common.app_id import app_id

# Characters of a refused value that are shown.
_SHOWN = 80

# Decimal digits that are read as a number, at most.
_DIGITS = 19


class Type:
    """What a property may hold, by `property_types.json`, which the compiler reads too."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.meaning: str = rule["means"]
        self._range: Sequence[int] | None = rule.get("range")
        self._longest: int = rule.get("longest", 0)
        self._pattern = re2.compile(rule.get("pattern", ""))
        self._refused = re2.compile(rule["refused"]) if "refused" in rule else None

    def check(self, value: object) -> str | int | None:
        """The value as steps shall see it, or None for one that is refused."""
        if self._range is None:
            return self._text(value)
        low, high = self._range
        return self._number(value, low, high)

    def _text(self, value: object) -> str | None:
        if not isinstance(value, str) or len(value) > self._longest or _is_torn(value):
            return None
        if self._refused is not None and self._refused.search(value):
            return None
        return value if self._pattern.fullmatch(value) else None

    @staticmethod
    def _number(value: object, low: int, high: int) -> int | None:
        if isinstance(value, str) and len(value) <= _DIGITS and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value if low <= value <= high else None
        return None


def _is_torn(text: str) -> bool:
    """Whether it has half a character, which JSON can bring and nothing can print."""
    return any("\ud800" <= c <= "\udfff" for c in text)


_RULES = Path(__file__).with_name("property_types.json").read_text(encoding="utf-8")

TYPES: dict[str, Type] = {name: Type(rule) for name, rule in json.loads(_RULES).items()}


class CheckProperties(BuildStep):
    """The first step of a builder: `CheckProperties({"versionCode": "integer"})`.

    A property that is missing, unless it is in `optional`, or is not of its type fails the
    build; so does one that has `choices` and is none of them. One that has a default, in
    `defaults`, is never missing. One that may be missing may also be empty, as a form sends it.
    Numbers that came as text are made numbers. A missing `packageName` is taken from the source
    stamp's project: Buildbot's own pollers cannot attach properties. Revisions and branches, which
    steps give to git as words of a command, are looked at too.
    """

    name = "check properties"
    haltOnFailure = True
    flunkOnFailure = True

    def __init__(
        self,
        checks: Mapping[str, str],
        optional: Sequence[str] = (),
        choices: Mapping[str, Sequence[Any]] | None = None,
        defaults: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for name, kind in checks.items():
            if kind not in TYPES:
                known = ", ".join(TYPES)
                config_error(f"CheckProperties: `{name}` has no such type: {kind} (of {known})")
        for name in sorted(set(optional) - set(checks)):
            config_error(f"CheckProperties: optional property `{name}` has no type")
        self.checks = dict(checks)
        self.optional = frozenset(optional)
        self.choices = dict(choices or {})
        self.defaults = dict(defaults or {})
        super().__init__(**kwargs)

    async def run(self) -> int:  # type: ignore[override]  # BuildStep awaits either
        """Check them all, then say all that is wrong."""
        problems = []
        for name, kind in self.checks.items():
            wanted = TYPES[kind]
            value = self.getProperty(name)
            if value is None and name == "packageName":
                value = self._project()
            if value in (None, "") and name in self.defaults:
                value = self.defaults[name]
            if value is None:
                if name not in self.optional:
                    problems.append(f"property `{name}` is missing: it must be {wanted.meaning}")
                continue
            if value == "" and name in self.optional:
                continue
            checked = wanted.check(value)
            if checked is None:
                problems.append(
                    f"property `{name}` is {_shown(value)}: it must be {wanted.meaning}"
                )
            elif checked not in self.choices.get(name, [checked]):
                known = ", ".join(map(str, self.choices[name]))
                problems.append(f"property `{name}` is {_shown(value)}: it must be one of {known}")
            elif checked is not self.getProperty(name):
                self.setProperty(name, checked, self.name)
        problems += self._stamp_problems()
        if problems:
            await self.addCompleteLog("problems", "".join(f"{line}\n" for line in problems))
            self.descriptionDone = ["refused a property"]
            return FAILURE
        return SUCCESS

    def _stamp_problems(self) -> list[str]:
        assert self.build is not None
        return [
            f"the {what} is {_shown(value)}: git would take it for an option or a range"
            for stamp in self.build.getAllSourceStamps()
            for what, value in (("revision", stamp.revision), ("branch", stamp.branch))
            if value and (value.startswith("-") or ".." in value)
        ]

    def _project(self) -> str | None:
        assert self.build is not None
        for stamp in self.build.getAllSourceStamps():
            if app_id(stamp.project) is not None:
                return str(stamp.project)
        return None


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
