# SPDX-License-Identifier: GPL-2.0-or-later
"""Read what an older or a newer program wrote into the master's database.

What Buildbot lacked: its state is any JSON, and whoever reads one field more or less than it knows
fails at each start, for good.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar

from twisted.python import log

from .process import printable

T = TypeVar("T")


def recalled(kind: type[T], saved: Any, what: str) -> T | None:
    """A dataclass from a list or an object of its fields. What it does not know is left out, and
    what has a default may be missing. None, and a line in the log, if that is not enough: then
    `what` begins anew.
    """
    fields = [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]  # a dataclass, says the caller
    values = saved
    if isinstance(saved, (list, tuple)):
        values = {field.name: value for field, value in zip(fields, saved, strict=False)}
    hints = _hints(kind)  # type: ignore[arg-type]  # types are hashable
    if isinstance(values, dict):
        known = {field.name: values[field.name] for field in fields if field.name in values}
        wrong = [name for name, value in known.items() if not _fits(value, hints[name])]
        missing = [field.name for field in fields if field.name not in known and _needs(field)]
        if not wrong and not missing:
            return kind(**known)
    shown = printable(ascii(saved), 100)
    log.msg(f"{what}: what is saved is of another version, and is set aside: {shown}")
    return None


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _needs(field: dataclasses.Field[Any]) -> bool:
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


def _fits(value: Any, hint: Any) -> bool:
    """For numbers, texts, lists and objects of them, and None beside them."""
    if hint is Any:
        return True
    if isinstance(hint, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        (one,) = typing.get_args(hint)
        return isinstance(value, list) and all(_fits(item, one) for item in value)
    if typing.get_origin(hint) is dict:
        _, one = typing.get_args(hint)
        return isinstance(value, dict) and all(_fits(item, one) for item in value.values())
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
