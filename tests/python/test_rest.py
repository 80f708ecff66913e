# SPDX-License-Identifier: GPL-2.0-or-later
"""The REST API answers whole, also where threads take turns at every instruction."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from masters import Master

# The interpreter changes threads a thousand times as often as it would: what is lost once in a
# thousand answers is lost in most of these.
CONFIG = """
sys.setswitchinterval(5e-6)
c["builders"] = [
    util.BuilderConfig(name=f"builder-{n}", workernames=["idle"], factory=util.BuildFactory())
    for n in range(1000)
]
names = [builder.name for builder in c["builders"]]
c["schedulers"] = [schedulers.Triggerable(name="none", builderNames=names)]
"""


def test_no_answer_lacks_its_end(tmp_path: Path) -> None:
    with Master(tmp_path / "master", CONFIG) as master:

        def names(_: int) -> set[str]:
            return {builder["name"] for builder in master.rest("builders")["builders"]}

        wanted = {f"builder-{n}" for n in range(1000)}
        with ThreadPoolExecutor(4) as pool:
            assert all(found == wanted for found in pool.map(names, range(60)))
        head = master.ask("HEAD", "/api/v2/builders")
        whole = master.ask("GET", "/api/v2/builders")
    assert head.text == ""
    lengths = [dict(answer.headers)["Content-Length"] for answer in (head, whole)]
    assert lengths == [str(len(whole.text))] * 2
    assert len(json.loads(whole.text)["builders"]) == 1000
