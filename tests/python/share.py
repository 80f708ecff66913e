# SPDX-License-Identifier: GPL-2.0-or-later
"""How tests are shared out among the processes of pytest-xdist."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files whose tests start virtual machines. Those of one group are run by one process, so that no
# more than two machines run at once.
MACHINES = {
    "test_vagrant_workers.py": "machines 1",
    "test_loop.py": "machines 2",
    "test_service.py": "machines 2",
}

# What takes longest begins first, in this order.
LONGEST = (
    "machines 1",
    "machines 2",
)


def _group(file: str) -> str:
    name = Path(file).name
    return MACHINES.get(name, name)


class Files(LoadScopeScheduling):
    """The tests of a file stay together, for they share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.partition("::")[0])


def longest_first(items: list[pytest.Item]) -> None:
    """Put tests into the order in which they are shared out."""

    def place(item: pytest.Item) -> int:
        group = _group(item.path.name)
        return LONGEST.index(group) if group in LONGEST else len(LONGEST)

    items.sort(key=place)
