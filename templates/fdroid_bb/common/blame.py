# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose fault a failed build is: its properties, as the room `failures` sets them."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

PROPERTY = "failure"
STEP = "failed-step"
INFRASTRUCTURE, SOURCE = "infrastructure", "source"

# The log of the step that failed which says why. Buildbot's pages show one of this name first.
SUMMARY = "summary"

# Where the properties come from. What a request brings along is from elsewhere.
SETTER = "Failures"


def is_infrastructure(build: Any) -> bool:
    """Of a build as Buildbot's data API has it, with its properties."""
    value, setter = build["properties"].get(PROPERTY, (None, None))
    return bool(value == INFRASTRUCTURE and setter == SETTER)


def failed_step(build: Any) -> str | None:
    """The name of the step that failed, if that is known; of a build as above."""
    value, setter = build["properties"].get(STEP, (None, None))
    return str(value) if setter == SETTER else None


def infrastructures(model: Any) -> Any:
    """The ids of all builds in which the infrastructure failed, as a query."""
    table = model.build_properties
    return sa.select(table.c.buildid).where(
        table.c.name == PROPERTY,
        table.c.value == json.dumps(INFRASTRUCTURE),
        table.c.source == SETTER,
    )
