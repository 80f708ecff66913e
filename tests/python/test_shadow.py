# SPDX-License-Identifier: GPL-2.0-or-later
"""Shadow mode: all but publishing, deploying and pushing."""

from __future__ import annotations

from pathlib import Path

from gitlab import GitLab
from masters import wait_for
from test_shipped_builders import FINDS, LOCAL, SUCCESS, Shipped

WRITES = {"publish", "update", "deploy"}


def test_a_shadow_judges_what_it_found_and_pushes_nothing(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "fdroid").write_text(FINDS.replace("FOLDER", str(tmp_path)))
    (programs / "fdroid").chmod(0o755)
    (tmp_path / "gate").touch()
    changes = {**LOCAL, "choices.run.chosen": "shadow"}
    shipped = Shipped(tmp_path, programs, changes, "checkupdates", updates="merge-request")
    fork = GitLab(shipped.server, "fork.git", shipped.data)
    (tmp_path / "master/secrets/fdroiddata-push").unlink()
    before = shipped.data.git("for-each-ref"), fork.git("for-each-ref")
    with shipped.master as master:
        shipped.press("force-checkupdates", "checkupdates", packageName="org.example.tiny")
        wait_for("the page", lambda: master.rest("builders?name=org.example.tiny")["builders"], 60)
        [build] = master.builds("org.example.tiny", 1, 90)
        steps = master.steps(build)
        assert build["results"] == SUCCESS, steps
        said = "Update CurrentVersion of tiny to 1.2 (2): it would be delivered"
        assert said in steps["judge"]["text"]
        assert not {"push to fdroiddata", "merge request"} & set(steps)
    shipped.server.close()
    patch = master.output / "updates/org.example.tiny.patch"
    assert "+CurrentVersionCode: 2" in patch.read_text()
    assert (shipped.data.git("for-each-ref"), fork.git("for-each-ref")) == before
    assert not fork.merge_requests


def test_a_shadow_builds_and_nothing_in_it_publishes(tmp_path: Path) -> None:
    workers = {f"builders.{name}.workers": ["repository"] for name in ("build", "verify")}
    changes = {**workers, "choices.run.chosen": "shadow"}
    shipped = Shipped(tmp_path, tmp_path, changes)
    with shipped.master as master:
        builders = {builder["name"] for builder in master.rest("builders")["builders"]}
        assert builders == {"build", "verify", "fdroiddata-watch"}
        schedulers = {found["name"] for found in master.rest("schedulers")["schedulers"]}
        assert {"force", "new-version", "fdroiddata"} <= schedulers
        assert not [name for name in schedulers if WRITES & set(name.split("-"))]
    shipped.server.close()
