# SPDX-License-Identifier: GPL-2.0-or-later
"""The refs of a repository, as `git ls-remote` tells them: what they are, and what is new.

What Buildbot lacked: GitPoller remembers a commit for each ref it has seen in full. Four
thousand repositories of a hundred tags want something smaller.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import re2

_LINE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\t(\S+)")
_TAG = "refs/tags/"
_HEAD = "refs/heads/"

# Buildbot's database takes 255 characters for a branch.
_NAME_LIMIT = 255

# A fingerprint of 48 bits: 10,000 refs collide with a chance of one in five million.
_FINGERPRINT = 6


@dataclass
class Answer:
    """Refs by their full name with the commit each leads to, and where HEAD points, if it is
    known and if it leads to a commit.
    """

    refs: dict[str, str] = field(default_factory=dict)
    default_branch: str | None = None
    has_head: bool = False


def parse(output: bytes) -> Answer:
    """Read what `git ls-remote` printed.

    A name that no tool of the pipeline could take safely (no UTF-8, not printable, too long, a
    leading dash) is left out: a server may claim names that git itself would refuse.
    """
    answer = Answer()
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith("ref: ") and line.endswith("\tHEAD"):
            name = line.removeprefix("ref: ").removesuffix("\tHEAD")
            if name.startswith(_HEAD) and _usable(name):
                answer.default_branch = short(name)
        elif match := _LINE.fullmatch(line):
            commit, name = match.groups()
            # An annotated tag comes twice; the second line tells the commit it leads to.
            name = name.removesuffix("^{}")
            if _usable(name):
                answer.refs[name] = commit
    return answer


def _usable(name: str) -> bool:
    return (
        len(name) <= _NAME_LIMIT
        and name.isprintable()
        and "\N{REPLACEMENT CHARACTER}" not in name
        and not short(name).startswith("-")
    )


def short(name: str) -> str:
    """The name people use: without `refs/tags/` or `refs/heads/`."""
    return name.removeprefix(_TAG).removeprefix(_HEAD)


def fingerprint(name: str, commit: str) -> bytes:
    """A few bytes that change when the ref moves."""
    data = f"{name}\0{commit}".encode()
    return hashlib.blake2b(data, digest_size=_FINGERPRINT).digest()


def pack(marks: Iterable[bytes]) -> str:
    """All that has to be remembered of refs, in eight characters for each."""
    return base64.b64encode(b"".join(sorted(marks))).decode()


def unpack(packed: str) -> frozenset[bytes]:
    """The fingerprints in what `pack` made."""
    data = base64.b64decode(packed)
    return frozenset(data[at : at + _FINGERPRINT] for at in range(0, len(data), _FINGERPRINT))


def compare(answer: Answer, known: str | None) -> tuple[str, list[str]]:
    """What to remember of an answer, and the refs in it that `known`, made by the last one, lacks.

    Nothing is new where nothing is known.
    """
    marks = {name: fingerprint(name, commit) for name, commit in answer.refs.items()}
    seen = pack(marks.values())
    if known is None or seen == known:
        return seen, []
    old = unpack(known)
    return seen, [name for name, mark in marks.items() if mark not in old]


def matching(pattern: str | None, names: Iterable[str]) -> list[str]:
    """Those that the pattern of an app's UpdateCheckMode wants, the highest version first.

    Raises re2.error for a pattern that no linear engine has.
    """
    names = newest(names)
    if not pattern:
        return names
    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern, options)
    return [name for name in names if compiled.match(short(name))]


def newest(names: Iterable[str]) -> list[str]:
    """Names from the highest version to the lowest, numbers compared as numbers.

    There are no dates to go by: those are in the commits, which nobody fetches.
    """

    def key(name: str) -> list[tuple[int, str]]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        # Length first: as an int a number of 5,000 digits would raise.
        return [
            (len(part.lstrip("0")), part.lstrip("0")) if "0" <= part[0] <= "9" else (0, part)
            for part in parts
        ]

    return sorted(names, key=key, reverse=True)
