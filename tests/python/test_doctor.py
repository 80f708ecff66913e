# SPDX-License-Identifier: GPL-2.0-or-later
"""`fdroid-bb doctor` with a real master: what it can build, what is missing, and where."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from masters import PATIENCE, Master, free_ports
from program import PROGRAM, generate

CONFIG = """
[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "Main"
url = "http://127.0.0.1:WWW_PORT/"
worker-listen = "127.0.0.1:PB_PORT"
submit = { listen = "127.0.0.1:SUBMIT_PORT", user = "fdroid", password-file = "PASSWORD_FILE" }
web = { listen = "127.0.0.1:WWW_PORT", views = ["dashboard"] }

[workers.one]
master = "main"
WORKER

[builders.build]
workers = ["one"]
collapse = ["packageName", "versionCode"]
properties.packageName = { type = "app-id" }
properties.versionCode = { type = "integer" }
properties.timeout = { type = "seconds", optional = true }
steps = [
  { name = "prepare", run = ["sh", "PREPARE", "{packageName}"] },
]

[schedulers.submitted]
on = { submitted = "build" }
builders = ["build"]

[failures]
repeat = []
source.lacks-something.pattern = "error: .*"
"""

# What this machine is short of, as `fdroid-machine prepare` says it.
PREPARE = """\
case $1 in *lib*)
  echo looking
  echo "error: there is no Android SDK in /opt/sdk" >&2
  echo "  help: sdkmanager --install 'platforms;android-NN'" >&2
  exit 1
esac
"""

APP = """\
RepoType: git
Repo: https://example.org/x.git
{head}Builds:
  - versionName: '1'
    versionCode: 1
    commit: v1
{flags}UpdateCheckMode: Tags
CurrentVersion: '1'
CurrentVersionCode: 1
"""
GRADLE = "    gradle:\n      - yes\n"
SRCLIB = "    srclibs:\n      - Lib@1\n"
BINARIES = "Binaries: https://example.org/%v.apk\n"


class World:
    """A master with one builder, and a clone of fdroiddata."""

    def __init__(self, folder: Path, worker: str = "local = {}") -> None:
        ports = free_ports(3)
        names = ("WWW_PORT", "PB_PORT", "SUBMIT_PORT")
        values = dict(zip(names, map(str, ports), strict=True))
        prepare = folder / "prepare"
        prepare.write_text(PREPARE)
        values |= {
            "PASSWORD_FILE": f"{folder}/shared/passwd",
            "WORKER": worker,
            "PREPARE": str(prepare),
        }
        text = CONFIG
        for name, value in values.items():
            text = text.replace(name, value)
        self.config = folder / "fdroid-bb.toml"
        self.config.write_text(text)
        self.data = folder / "fdroiddata"
        metadata = self.data / "metadata"
        metadata.mkdir(parents=True)
        for name, head, flags in (
            ("a.script", "", "    output: a.apk\n"),
            ("b.large", "", f"{GRADLE}    subdir: app\n"),
            ("c.gradle", "", GRADLE),
            ("d.lib", "", GRADLE + SRCLIB),
            ("e.same", BINARIES, GRADLE + SRCLIB),
        ):
            (metadata / f"{name}.yml").write_text(APP.format(head=head, flags=flags))
        git = ["git", "-C", str(self.data), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        for args in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
            subprocess.run([*git, *args], check=True, capture_output=True)
        masters = generate(self.config, self.data, folder / "out")
        path = masters / "main/master.cfg"
        self.master = Master(folder / "main", configfile=path, www_port=ports[0])

    def doctor(self, *args: str, code: int = 0) -> str:
        """What it says, if it ends with `code`."""
        begin = [PROGRAM, "doctor", "--config", str(self.config), "--fdroiddata", str(self.data)]
        done = subprocess.run([*begin, *args], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One that runs."""
    world = World(tmp_path)
    with world.master:
        yield world


def test_one_app_of_each_shape_is_built_and_what_is_missing_is_said(world: World) -> None:
    assert world.doctor().startswith("good  the master `main` listens at 127.0.0.1:")
    said = world.doctor("--build", code=5)
    assert "good  c.gradle:1 (gradle)\n" in said
    assert "good  e.same:1 (reproducible)\n" in said
    assert "bad   d.lib:1 (srclib): at `prepare`: «prepare» failed: lacks something: " in said
    # Once, though the log `summary` says it too.
    assert said.count("  error: there is no Android SDK in /opt/sdk\n") == 1
    assert "  help: sdkmanager --install 'platforms;android-NN'\n" in said
    assert f"  page: http://127.0.0.1:{world.master.www_port}/#/builders/" in said
    assert said.endswith("2 good, 1 bad\n")
    # Once more, and what is told is of new builds.
    (world.config.parent / "prepare").write_text("")
    assert world.doctor("--build").endswith("3 good, 0 bad\n")
    named = world.doctor("--build", "--app", "a.script:1")
    assert "good  a.script:1 (named)\n" in named
    assert len(world.master.rest("builds")["builds"]) == 7
    assert "fdroiddata has no build `a.script:2`" in world.doctor(
        "--build", "--app", "a.script:2", code=1
    )


def test_what_does_not_end_is_told(world: World) -> None:
    (world.config.parent / "prepare").write_text("while :; do sleep 0.1; done")
    said = world.doctor("--build", "--app", "c.gradle:1", "--limit", "3", code=5)
    assert "bad   c.gradle:1 (named): it has not ended in time\n" in said


def test_nobody_listens(tmp_path: Path) -> None:
    said = World(tmp_path).doctor("--build", code=5)
    assert "error: there is no password in" in said
    assert "help: start the master" in said


def test_nothing_is_built_where_no_worker_can_be_started(tmp_path: Path) -> None:
    docker = (
        f'docker = {{ image = "x:1", host = "unix://{tmp_path}/none.sock", master-host = "x" }}'
    )
    world = World(tmp_path, docker)
    with world.master as master:
        said = world.doctor("--build", code=5)
        assert (
            "bad   the builder `build` has no worker that can be started: no Docker engine" in said
        )
        assert "  help: `systemctl start docker`" in said
        assert not master.rest("buildrequests")["buildrequests"]
