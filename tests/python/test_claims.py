# SPDX-License-Identifier: GPL-2.0-or-later
"""Claims made together: a start with thousands of pollers, and two masters on one database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from masters import Master, wait_for

# No turn of theirs comes up while the test runs, but for a few; those reach nobody. Each
# transaction that claims is logged.
POLLERS = """
from fdroid_bb.polling import claims
def claim(conn, model, names, *arguments, _claim=claims._claim):
    print("claimed together:", len(names))
    return _claim(conn, model, names, *arguments)
claims._claim = claim

c["change_source"] = [
    AppGitPoller(f"app.n{n}", "https://127.0.0.1:9/x.git", tags="") for n in range(COUNT)
]
"""


def sources(master: Master) -> list[dict[str, Any]]:
    """The change sources that some master has claimed."""
    found = master.rest("changesources")["changesources"]
    return [source for source in found if source["master"] is not None]


def test_four_thousand_pollers_start_together(tmp_path: Path) -> None:
    with Master(tmp_path / "master", POLLERS.replace("COUNT", "3924")) as master:
        wait_for("the claims", lambda: len(sources(master)) == 3924)
        # Buildbot's own way takes two or three transactions for each.
        together = [int(n) for n in re.findall(r"claimed together: (\d+)", master.log())]
        assert sum(together) == 3924
        assert len(together) <= 4
        assert "Traceback" not in master.log()
        # A reconfig adds and removes with the same means.
        master.reconfig(POLLERS.replace("COUNT", "3920"))
        wait_for("four to go", lambda: len(sources(master)) == 3920)
        master.reconfig(POLLERS.replace("COUNT", "3921"))
        wait_for("one to come back", lambda: len(sources(master)) == 3921)
        # Buildbot itself gives up a stopping master's claims one by one, before it stops them.
        master.kill()


def test_of_two_masters_one_polls(tmp_path: Path) -> None:
    pollers = POLLERS.replace("COUNT", "50") + 'c["multiMaster"] = True\n'
    with Master(tmp_path / "one", pollers) as one:
        wait_for("the claims", lambda: len(sources(one)) == 50)
        shared = f"sqlite:////{tmp_path}/one/state.sqlite"
        config = pollers + f'c["db_url"] = {shared!r}\n'
        with Master(tmp_path / "two", config) as two:
            names = {source["master"]["name"] for source in sources(two)}
            assert len(names) == 1
            assert str(tmp_path / "one") in names.pop()
            assert "Traceback" not in two.log()
