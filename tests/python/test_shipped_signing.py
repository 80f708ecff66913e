# SPDX-License-Identifier: GPL-2.0-or-later
"""F-Droid's own description with the keys on another machine: what a person carries and presses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from masters import wait_for
from repository import signers
from test_shipped_builders import FAILURE, SUCCESS, Shipped
from two_machines import Two

APP = "org.example.tiny"


def test_what_is_built_is_signed_elsewhere_and_deployed(tmp_path: Path, fdroidserver: Path) -> None:
    two = Two(tmp_path, fdroidserver)
    shipped = Shipped(tmp_path, fdroidserver, {"choices.signing.chosen": "elsewhere"})
    web = tmp_path / "web/fdroid"
    web.mkdir(parents=True)
    config = (two.here.path / "config.yml").read_text() + f"serverwebroot: {web}\n"
    (shipped.repository / "config.yml").write_text(config)
    shutil.copytree(two.here.path / "config", shipped.repository / "config")
    two.here.folder, two.here.path = shipped.master.output, shipped.repository
    two.there.metadata(APP)
    two.here.built(APP)
    master = shipped.master

    def press(builder: str, count: int) -> dict[str, object]:
        shipped.press("force-repository", builder)
        return master.builds(builder, count, 300)[-1]

    with master:
        # What is to be signed is in the outbox, and nothing was published.
        assert press("publish", 1)["results"] == SUCCESS
        assert two.here.list("outbox") == {f"{APP}_1"}
        two.sign()
        # The signed version is published, and its index is in the outbox.
        build = press("publish", 2)
        assert build["results"] == SUCCESS, master.steps(build)
        [update] = master.builds("update", 1, 300)
        assert update["results"] == SUCCESS, master.steps(update)
        assert two.here.list("outbox") == {"index"}
        # It is not signed yet.
        build = press("deploy", 1)
        assert build["results"] == FAILURE
        assert "no index was signed yet" in str(master.steps(build))
        assert not list(web.iterdir())
        two.sign()
        build = press("deploy", 2)
        assert build["results"] == SUCCESS, master.steps(build)
        assert signers(web / f"repo/{APP}_1.apk")
        assert APP in json.loads((web / "repo/index-v2.json").read_text())["packages"]
        assert (web / "repo/entry.jar").exists()
        # Neither what was only sent nor a deploy has made a further index.
        assert len(master.builds("update", 1)) == 1
        wait_for("no more builds", lambda: not master.rest("builds?complete=false")["builds"])
