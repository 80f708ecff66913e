# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions for steps, as functions with names.

What Buildbot lacked: a lambda in master.cfg is another one after each reconfig, and so replaces
whatever uses it.
"""

from __future__ import annotations

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import SUCCESS, WARNINGS


def build_is_well(step: BuildStep) -> bool:
    """Tell whether no step before this one failed."""
    return step.build is not None and step.build.results in (SUCCESS, WARNINGS)
