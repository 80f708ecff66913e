# SPDX-License-Identifier: GPL-2.0-or-later
"""The pollers of apps that are not in git, in a real master with real repositories."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from masters import PATIENCE, Master, free_port, wait_for


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command of Mercurial's or Subversion's."""
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=PATIENCE)


def changes(master: Master) -> list[dict[str, Any]]:
    """All so far, in order."""
    return sorted(master.rest("changes")["changes"], key=lambda change: int(change["changeid"]))


def needs(program: str) -> None:
    """Skip without it."""
    if shutil.which(program) is None:
        pytest.skip(f"no {program}: install it, or make it ready with ./dev testbed")


@pytest.fixture
def mercurial(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A repository with one commit, and where it is served."""
    needs("hg")
    folder = tmp_path / "mercurial"
    folder.mkdir()
    run("hg", "init", cwd=folder)
    commit_hg(folder, "first")
    port = free_port()
    command = ["hg", "serve", "--address", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield folder, f"http://127.0.0.1:{port}/"
    server.terminate()
    server.wait(10)


def commit_hg(folder: Path, name: str) -> None:
    """One commit."""
    (folder / name).write_text(name)
    run("hg", "add", name, cwd=folder)
    run("hg", "commit", "-u", "a", "-m", name, cwd=folder)


def test_a_commit_to_a_mercurial_repository_makes_a_change(
    tmp_path: Path, mercurial: tuple[Path, str]
) -> None:
    folder, url = mercurial

    def config(other: str = "") -> str:
        return (
            f'c["change_source"] = [app_hg_poller("org.example.hg", {url!r}, pollInterval=1)]\n'
            f"{other}"
        )

    with Master(tmp_path / "master", config()) as master:
        work = master.basedir / "app-sources/org.example.hg"
        wait_for("the first poll", lambda: (work / ".hg").is_dir())
        assert changes(master) == []
        commit_hg(folder, "second")
        (change,) = wait_for("a change", lambda: changes(master))
        assert (change["project"], change["category"]) == ("org.example.hg", "app-source")
        assert change["comments"] == "second"
        # What it has seen is not forgotten by a reconfig that is about something else.
        master.reconfig(config('c["title"] = "Other"\n'))
        commit_hg(folder, "third")
        found = wait_for("another", lambda: changes(master)[1:])
        assert [change["comments"] for change in found] == ["third"]


def test_a_commit_to_a_subversion_repository_makes_a_change(tmp_path: Path) -> None:
    needs("svnadmin")
    needs("svn")
    run("svnadmin", "create", "repository", cwd=tmp_path)
    base = f"file://{tmp_path}/repository"
    run("svn", "mkdir", "-m", "layout", f"{base}/trunk", f"{base}/branches", cwd=tmp_path)
    text = (
        'c["change_source"] = [\n'
        f'    app_svn_poller("org.example.svn", "{base}/trunk", pollInterval=1)\n]\n'
    )
    with Master(tmp_path / "master", text) as master:
        seen = master.basedir / "app-source-org.example.svn.svn-revision"
        wait_for("the first poll", seen.exists)
        run("svn", "mkdir", "-m", "not here", f"{base}/branches/x", cwd=tmp_path)
        run("svn", "mkdir", "-m", "news", f"{base}/trunk/x", cwd=tmp_path)
        (change,) = wait_for("a change", lambda: changes(master))
        assert (change["project"], change["comments"]) == ("org.example.svn", "news")
        # A restart goes on where it was.
        master.stop()
        run("svn", "mkdir", "-m", "meanwhile", f"{base}/trunk/y", cwd=tmp_path)
        master.start()
        found = wait_for("another", lambda: changes(master)[1:])
        assert [change["comments"] for change in found] == ["meanwhile"]
