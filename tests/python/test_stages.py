# SPDX-License-Identifier: GPL-2.0-or-later
"""The contract of fdroidserver's stages, which a pipeline relies on: exit codes, order and files.

Held by the stand-in here. `FDROID_BB_FDROIDSERVER=/somewhere/fdroidserver/fdroid` runs what needs
no container against that program instead, and with `FDROID_BB_CONTAINERS=podman` all of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from masters import PATIENCE, ROOT
from shipped import METADATA, edited
from stand_in_stages import COMMANDS, parser

REAL = os.environ.get("FDROID_BB_FDROIDSERVER")
PROGRAM = REAL or str(Path(__file__).with_name("stand_in_stages.py"))
KIND = os.environ.get("FDROID_BB_CONTAINERS", "podman")
APP = "org.example.tiny"
VERSION = f"{APP}:1"
CONTAINER = (f"--virt-container-type={KIND}", VERSION)

with_containers = pytest.mark.skipif(
    REAL is not None and "FDROID_BB_CONTAINERS" not in os.environ,
    reason="the real fdroidserver has no containers here",
)


class Data:
    """A folder of fdroiddata with one app, whose source is a repository in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder.parent / "source"
        self.source.mkdir()
        (self.source / "main.c").write_text("source")
        for command in (
            ("init", "-q"),
            ("add", "."),
            ("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a"),
            ("tag", "v1.0"),
        ):
            subprocess.run(["git", "-C", str(self.source), *command], check=True)
        changes = {"NAME": "tiny", "URL": f"file://{self.source}", "BUILD": "echo apk > app.apk"}
        (folder / "metadata").mkdir(parents=True)
        (folder / f"metadata/{APP}.yml").write_text(edited(METADATA, changes))

    def run(self, *words: str) -> int:
        """The exit code of a command."""
        env = {**os.environ, "FDROID_STAND_IN": str(self.folder)}
        command = [sys.executable, PROGRAM, *words]
        done = subprocess.run(command, cwd=self.folder, env=env, timeout=PATIENCE, check=False)
        return done.returncode

    def inside(self, *words: str) -> int:
        """The same, in the container."""
        return self.run("exec", *CONTAINER, "--", *words)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """A fresh one."""
    return Data(tmp_path / "fdroiddata")


def test_the_stand_in_has_the_options_of_the_real_one() -> None:
    path = ROOT.parent / "shared/contract/fdroidserver-options.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    known = json.loads(path.read_text())["git master of 2026-06-11"]
    for command in COMMANDS:
        actions = parser(command)._actions
        found = {option for action in actions for option in action.option_strings}
        assert found - {"-h", "--help"} == set(known[command]["options"]), command
        positional = [a.nargs for a in actions if not a.option_strings]
        assert positional == [a["nargs"] for a in known[command]["positional"]], command


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_options_are_refused(data: Data, command: str) -> None:
    assert data.run(command, "--no-such-option", VERSION) == 2
    assert data.run(command) == 2


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if kind])
def test_the_kind_of_container_must_be_given(data: Data, command: str) -> None:
    assert data.run(command, VERSION) == 1


def test_what_is_not_there_is_an_error(data: Data) -> None:
    assert data.run("fetch_repo", "org.example.none:1") == 1
    assert data.run("prepare_source", VERSION) == 1
    assert data.run("make_source_tarball", VERSION) == 1


@with_containers
@pytest.mark.parametrize("command", ["push", "exec", "execute_sudo", "pull"])
def test_without_a_container_nothing_goes(data: Data, command: str) -> None:
    more = ("--", "true") if command == "exec" else ()
    assert data.run(command, *CONTAINER, *more) == 1
    assert data.run("destroy", *CONTAINER) == 0


@with_containers
def test_the_order_that_works(data: Data) -> None:
    steps = ("fetch_repo", "fetch_srclibs", "install_ndk")
    assert [data.run(step, VERSION) for step in steps] == [0, 0, 0]
    try:
        assert data.run("up", *CONTAINER) == 0
        assert data.run("execute_sudo", *CONTAINER) == 0
        assert data.run("push", *CONTAINER) == 0
        # Options of an inner command need `--`, and any failure of it is 1.
        assert data.run("exec", *CONTAINER, "sh", "-c", "true") == 2
        assert data.inside("sh", "-c", "exit 7") == 1
        origin = (data.folder / f"build/.fdroidvcs-{APP}").read_text()
        write = 'printf %s "$0" >"$1"'
        assert data.inside("bash", "-c", write, origin, f"build/.fdroidvcs-{APP}") == 0
        assert data.inside("fdroidserver/fdroid", "prepare_source", VERSION) == 0
        assert data.inside("fdroidserver/fdroid", "build_local_run", VERSION) == 0
        # It is in `tmp` inside, from where `pull` does not take it, and says nothing.
        assert data.run("pull", *CONTAINER) == 0
        apk = data.folder / f"unsigned/{APP}_1.apk"
        assert not apk.exists()
        assert data.inside("sh", "-c", "mkdir -p unsigned; cp tmp/*.apk unsigned/") == 0
        assert data.run("pull", *CONTAINER) == 0
        assert apk.read_text() == "apk\n"
    finally:
        assert data.run("destroy", *CONTAINER) == 0
    assert data.run("destroy", *CONTAINER) == 0


@pytest.mark.skipif(REAL is not None, reason="the real one clones again, from wherever it can")
def test_without_the_origin_the_stand_in_does_not_build(data: Data) -> None:
    for words in (("fetch_repo", VERSION), ("up", *CONTAINER), ("push", *CONTAINER)):
        assert data.run(*words) == 0
    assert data.inside("fdroidserver/fdroid", "prepare_source", VERSION) == 1
    assert data.inside("fdroidserver/fdroid", "build_local_run", VERSION) == 1
