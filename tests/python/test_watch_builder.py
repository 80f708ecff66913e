# SPDX-License-Identifier: GPL-2.0-or-later
"""The builder `fdroiddata-watch` of F-Droid's own description: it brings what changes in fdroiddata
to the master that it runs in, asks for the builds that were merged, and its build stays whole.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from applied import SUBMIT, Applied, git
from masters import PATIENCE, ROOT, free_port, wait_for
from program import PROGRAM
from repositories import Server


def described() -> str:
    """The builder as it is shipped, on this description's worker."""
    command = [PROGRAM, "explain", "builder", "fdroiddata-watch", "--format", "json"]
    said = subprocess.run(
        command, check=True, capture_output=True, timeout=PATIENCE, cwd=ROOT
    ).stdout
    lines = [line["toml"] for line in json.loads(said)["lines"]]
    lines[lines.index('workers = ["repository"]')] = 'workers = ["host"]'
    lines += ["[schedulers.fdroiddata]", 'on = "fdroiddata"', 'builders = ["fdroiddata-watch"]']
    return "\n".join(lines)


def test_a_commit_reconfigures_the_master_that_notices_it(server: Server, tmp_path: Path) -> None:
    data = server.repository("fdroiddata.git")
    submit = SUBMIT.replace("PORT", str(free_port())).replace("FOLDER", str(tmp_path / "shared"))
    more = f"{described()}\n[locks.fdroiddata]\n{submit}"
    applied = Applied(tmp_path, more, data.url)
    text = applied.config.read_text()
    poll = f'url = "{data.url}"\npoll-interval = "2s"\nbranch = "master"'
    applied.config.write_text(text.replace(f'url = "{data.url}"', poll))
    git(applied.data, "init", "-q", "-b", "master")

    def push(message: str) -> None:
        git(applied.data, "add", "-A")
        git(applied.data, "commit", "-q", "-m", message)
        git(applied.data, "push", "-q", str(data.path), "HEAD:refs/heads/master")

    push("first")
    mirror = applied.out / "fdroiddata.git"
    clone = ["git", "clone", "-q", "--bare", data.url, str(mirror)]
    subprocess.run(clone, check=True, timeout=PATIENCE)
    try:
        applied.run("apply")
        master = applied.master
        (master.output / "repository").mkdir(parents=True)
        updates = applied.updates()
        # The first poll only notes what is there.
        wait_for("the poll", lambda: "gitpoller: processing changes" in master.log())
        name = "org.example.watched"
        applied.add(name)
        push("an app")
        build = master.builds("fdroiddata-watch", 1, 60)[0]
        steps = master.steps(build)
        said = steps["fdroid-bb apply"]["text"]
        assert build["results"] == 0, said
        assert all(step["results"] == 0 and step["complete"] for step in steps.values())
        assert f"+ poller {name} of main" in said
        assert "main: reconfigured" in said
        assert name in applied.pollers()
        assert applied.updates() == updates + 1, "told once, in the middle of the build"
        assert (applied.master.output / "metrics/fdroid-bb.prom").exists()
        # From now on what is merged is built; what is there already is not.
        assert "merged builds are submitted from now on" in steps["fdroid-bb schedule"]["text"]
        path = applied.data / f"metadata/{name}.yml"
        block = "Builds:\n  - versionName: '1'\n    versionCode: 1\n    commit: v1\n"
        path.write_text(path.read_text() + block)
        push("a build")
        [asked] = master.builds("check", 1, 60)
        assert asked["properties"]["packageName"][0] == name
        assert asked["properties"]["versionCode"][0] == "1"
        # And it goes on: the next one finds the builder as it was.
        (applied.data / f"metadata/{name}.yml").unlink()
        push("no app")
        build = master.builds("fdroiddata-watch", 3, 60)[2]
        assert build["results"] == 0
        assert name not in applied.pollers()
    finally:
        applied.master.stop()
