# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions for steps, as functions with names.

What Buildbot lacked: a lambda in master.cfg is another one after each reconfig, and so replaces
whatever uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import EXCEPTION, FAILURE, SUCCESS, WARNINGS


def build_is_well(step: BuildStep) -> bool:
    """Tell whether no step before this one failed."""
    return step.build is not None and step.build.results in (SUCCESS, WARNINGS)


def build_has_failed(step: BuildStep) -> bool:
    """Tell whether a step before this one failed."""
    return step.build is not None and step.build.results in (FAILURE, EXCEPTION)


# No tuples: Buildbot would make plain ones of them.
@dataclass(frozen=True)
class PropertyIs:
    """Whether a build has the property `name`, not empty and, if that is given, of this `value`."""

    name: str
    value: Any = None

    def holds(self, step: BuildStep) -> bool:
        """Tell whether it is so."""
        found = step.getProperty(self.name)
        return found not in (None, "") and self.value in (None, found)


@dataclass(frozen=True)
class Condition:
    """For `doStepIf`: runs a step where `only_if` holds and `unless` does not."""

    only_if: PropertyIs | None = None
    unless: PropertyIs | None = None

    def __call__(self, step: BuildStep) -> bool:
        """Tell whether the step runs."""
        wanted = self.only_if is None or self.only_if.holds(step)
        return wanted and not (self.unless is not None and self.unless.holds(step))
