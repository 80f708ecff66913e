# SPDX-License-Identifier: GPL-2.0-or-later
"""How tests are shared out among the processes of pytest-xdist."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# Tests that start virtual machines, by the beginning of their names. Those of one group are run by
# one process, so that no more than two machines run at once.
MACHINES = {
    "test_loop.py": "machines 1",
    "test_service.py": "machines 1",
    "test_vagrant_workers.py": "machines 2",
    "test_vagrant_workers.py::test_a_machine_is_destroyed_and_made_anew": "machines 1",
    "test_vagrant_workers.py::test_a_box_without_a_worker": "machines 1",
    "test_vagrant_workers.py::test_a_machine_that_vagrant_cannot": "machines 1",
    # Containers of Vagrant's, no machines.
    "test_vagrant_workers.py::test_a_machine_that_cannot_be_saved": "containers",
    "test_vagrant_workers.py::test_what_vagrant_says": "containers",
    "test_vagrant_workers.py::test_two_builders_share": "containers",
    "test_vagrant_workers.py::test_a_vagrant_that": "containers",
    "test_vagrant_workers.py::test_a_build_that_is_cancelled": "containers",
    "test_vagrant_workers.py::test_a_build_runs_in_a_machine_of_the_docker": "containers",
    "test_vagrant_workers.py::test_a_worker_that_does_not_come_up": "containers",
    "test_vagrant_workers.py::test_a_machine_is_kept": "containers",
    "test_vagrant_workers.py::test_a_full_disk": "containers",
    "test_vagrant_workers.py::test_pages_are_answered": "containers",
}

# What takes longest begins first, in this order.
LONGEST = (
    "machines 2",
    "machines 1",
    "test_cache.py",
    "test_app_sources.py",
    "test_apply.py",
    "containers",
    "test_real_builds.py",
    "test_pipeline_runtime.py",
    "test_transfers.py",
    "test_health.py",
    "test_due.py",
    "test_package.py",
    "test_terminal.py",
    "test_generated_masters.py",
    "test_shipped_builders.py",
    "test_watch.py",
)


def _group(nodeid: str) -> str:
    file, _, test = nodeid.partition("::")
    name = f"{Path(file).name}::{test}"
    beginnings = [beginning for beginning in MACHINES if name.startswith(beginning)]
    return MACHINES[max(beginnings, key=len)] if beginnings else Path(file).name


class Files(LoadScopeScheduling):
    """The tests of a group, else of a file, stay together, for they share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def longest_first(items: list[pytest.Item]) -> None:
    """Put tests into the order in which they are shared out."""

    def place(item: pytest.Item) -> int:
        group = _group(item.nodeid)
        return LONGEST.index(group) if group in LONGEST else len(LONGEST)

    items.sort(key=place)
