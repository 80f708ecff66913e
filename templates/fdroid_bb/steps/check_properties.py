# SPDX-License-Identifier: GPL-2.0-or-later
"""Check what arrives from outside before any step uses it.

What Buildbot lacked: a property of a submitted change is whatever its sender wrote, and steps
put properties into commands, file names and pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from buildbot.config.errors import error as config_error
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SUCCESS

from ..common.app_id import app_id

# Characters of a refused value that are shown.
_SHOWN = 80


def _text(pattern: str) -> Callable[[object], str | None]:
    compiled = re.compile(rf"\A(?:{pattern})\Z", re.ASCII)
    return lambda value: value if isinstance(value, str) and compiled.match(value) else None


_word = _text(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def _integer(value: object, low: int = 0, high: int = 2**63 - 1) -> int | None:
    if isinstance(value, str) and re.match(r"\A[0-9]{1,19}\Z", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    return None


def _seconds(value: object) -> int | None:
    return _integer(value, 1, 7 * 24 * 60 * 60)


def _branch(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > 200 or ".." in value or value.endswith("."):
        return None
    words = all(_word(part) and not part.endswith(".lock") for part in value.split("/"))
    return value if words else None


def _printable(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > 1000:
        return None
    return value if value.isprintable() and not value.startswith("-") else None


class Type(NamedTuple):
    """`check` gives the value as steps shall see it, or None for one that is refused."""

    check: Callable[[object], str | int | None]
    meaning: str


TYPES: dict[str, Type] = {
    "app-id": Type(app_id, "an application id"),
    "integer": Type(_integer, "a whole number from 0 to 2^63-1"),
    "seconds": Type(_seconds, "a whole number of seconds from 1 to 604800"),
    "commit": Type(_text(r"[0-9A-Fa-f]{7,64}"), "a commit: 7 to 64 hexadecimal digits"),
    "branch": Type(_branch, "the name of a branch: words with / between them"),
    "word": Type(
        _word,
        "a word: up to 128 of A-Z a-z 0-9 . _ -, with neither dot nor dash first",
    ),
    "text": Type(_printable, "up to 1000 printable characters, no dash first"),
}


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
