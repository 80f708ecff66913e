# SPDX-License-Identifier: GPL-2.0-or-later
"""What a master says of its own health, and what `apply` does about it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from applied import SUBMIT, Applied
from conftest import VAGRANT_BOX
from masters import Master, wait_for

WORKER = """
[workers.machine]
master = "main"
KIND

[builders.inside]
workers = ["machine"]

[[builders.inside.steps]]
name = "look"
run = ["true"]

[schedulers.inside]
on = "force"
builders = ["inside"]
"""

RAISES = """
class Raises(AppGitPoller):
    def activate(self):
        raise ValueError("it raises")

c["services"] = [Output("../public"), Live(__file__)]
c["change_source"] = [
    AppGitPoller("org.good", "https://127.0.0.1:9/good.git"),
    Raises("org.bad", "https://127.0.0.1:9/bad.git"),
]
"""


def health(basedir: Path) -> list[dict[str, Any]]:
    """What a master says of its health, once it knows."""

    def known() -> dict[str, Any] | None:
        try:
            live: dict[str, Any] = json.loads((basedir / "fdroid-bb-live.json").read_text())
            # Not one that has ended: its words are there until this one has some of its own.
            works_in = Path(f"/proc/{live['pid']}/cwd").readlink()
        except FileNotFoundError:
            return None
        if works_in != basedir.resolve():
            return None
        return live if live["health"]["update"] == live["updates"] else None

    live = wait_for("its health", known, 120)
    assert live is not None
    problems: list[dict[str, Any]] = live["health"]["problems"]
    return problems


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    applied = Applied(tmp_path_factory.mktemp("health"))
    # Only looked for, and never run: no machine is made here.
    vagrant = applied.folder / "programs/vagrant"
    vagrant.write_text("#!/bin/sh\nexit 1\n")
    vagrant.chmod(0o755)
    yield applied
    applied.master.stop()


@pytest.fixture(params=["folder", "port", "engine", "image", "box", "libvirt"])
def broken(
    request: pytest.FixtureRequest, tmp_path: Path, applied: Applied
) -> Iterator[tuple[str, str, str]]:
    """What cannot work: a part of a description, its kind, and what is said of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = str(taken.getsockname()[1])
        if request.param == "port":
            text = SUBMIT.replace("PORT", free).replace("FOLDER", str(tmp_path / "submit"))
            yield text, "port", "Address already in use"
            return
    if request.param == "folder":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder to another user")
        folder = tmp_path / "submit"
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
        text = SUBMIT.replace("PORT", free).replace("FOLDER", str(folder))
        yield text, "port", "belongs to another user"
    elif request.param == "engine":
        kind = 'docker = { image = "none:0", host = "unix:///nonexistent/docker.sock" }'
        yield WORKER.replace("KIND", kind), "builder", "no Docker engine answers"
    elif request.param == "image":
        request.getfixturevalue("docker_engine")
        kind = 'docker = { image = "fdroid-bb/none:0" }'
        yield WORKER.replace("KIND", kind), "builder", "has no image `fdroid-bb/none:0`"
    elif request.param == "libvirt":
        request.getfixturevalue("vagrant_libvirt")
        uri = "qemu+unix:///system?socket=/nonexistent"
        kind = f'vagrant = {{ box = "{VAGRANT_BOX}", options = {{ uri = "{uri}" }} }}'
        yield WORKER.replace("KIND", kind), "builder", f"libvirt does not answer at `{uri}`"
    else:
        request.getfixturevalue("vagrant_libvirt")
        kind = 'vagrant = { box = "none-such" }'
        yield WORKER.replace("KIND", kind), "builder", "Vagrant has no box `none-such` for libvirt"


def test_what_does_not_work_is_rolled_back_unless_it_did_not_before(
    applied: Applied, broken: tuple[str, str, str]
) -> None:
    more, kind, words = broken
    healthy, before = applied.config.read_text(), applied.files()
    assert health(applied.master.basedir) == []
    applied.config.write_text(healthy + more)
    said = applied.run("apply", exit_code=5)
    assert "the master `main` runs the configuration, but parts of it do not work" in said
    assert words in said
    assert "the old configuration is back, and runs" in said
    assert applied.files() == before
    assert health(applied.master.basedir) == []
    # Started with it, the master says so, and the next change is applied all the same.
    applied.run("generate")
    applied.master.stop()
    applied.master.start()
    (problem,) = health(applied.master.basedir)
    assert problem["kind"] == kind
    assert words in problem["says"]
    applied.add("org.example.next")
    said = applied.run("apply")
    assert "warning: parts of `main` do not work" in said
    assert words in said
    assert "main: reconfigured" in said
    (applied.data / "metadata/org.example.next.yml").unlink()
    applied.config.write_text(healthy)
    assert "main: reconfigured" in applied.run("apply")
    assert health(applied.master.basedir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_submit_port_opens_once_its_folder_is_usable(tmp_path: Path, applied: Applied) -> None:
    healthy = applied.config.read_text()
    folder = tmp_path / "submit"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = SUBMIT.replace("PORT", str(taken.getsockname()[1]))
    applied.config.write_text(healthy + text.replace("FOLDER", str(folder)))
    applied.run("generate")
    applied.master.stop()
    applied.master.start()
    assert [problem["kind"] for problem in health(applied.master.basedir)] == ["port"]
    os.chown(folder, 0, 0)
    wait_for("the password", (folder / "passwd").exists, 60)
    applied.add("org.example.opened")
    assert "do not work" not in applied.run("apply")
    assert health(applied.master.basedir) == []
    (applied.data / "metadata/org.example.opened.yml").unlink()
    applied.config.write_text(healthy)
    applied.run("apply")


def test_a_poller_that_raises_and_an_open_folder_are_told_of(tmp_path: Path) -> None:
    with Master(tmp_path / "master", RAISES) as master:
        (problem,) = health(master.basedir)
        assert (problem["kind"], problem["name"]) == ("poller", "org.bad")
        assert "it raises" in problem["says"]
        master.basedir.chmod(0o755)
        master.reconfig(
            RAISES.replace('raise ValueError("it raises")', "return super().activate()")
        )
        (problem,) = [p for p in health(master.basedir) if p["kind"] != "poller"]
        assert problem["kind"] == "permissions"
        assert "chmod 700" in problem["says"]
        metrics = tmp_path / "public/metrics/health.prom"
        found = 'fdroid_bb_health_problems{kind="permissions"} 1\n'
        wait_for("the metrics", lambda: metrics.exists() and found in metrics.read_text())
