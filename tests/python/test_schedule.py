# SPDX-License-Identifier: GPL-2.0-or-later
"""`fdroid-bb schedule` against a real master, beside the real `buildbot sendchange`."""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from masters import PATIENCE, ROOT, Master, corpus_folder, free_port, wait_for

PASSWORD = "a password that is made anew"

CONFIG = """
[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "Main"
url = "http://127.0.0.1:8010/"
submit = { listen = "127.0.0.1:PORT", user = "fdroid", password-file = "FILE" }

[workers.one]
master = "main"
local = {}

[builders.build]
workers = ["one"]
steps = [{ run = ["true"] }]

[schedulers.submitted]
on = { submitted = "build" }
builders = ["build"]
"""

MASTER = f"""
c["change_source"] = [
    SubmitSource(port="tcp:SUBMIT:interface=127.0.0.1", user="fdroid", password_file="FILE",
                 passwd={PASSWORD!r})
]
"""

APP = """\
RepoType: git
Repo: https://example.org/x.git
Builds:
  - versionName: '1.0'
    versionCode: 1
    commit: v1
  - versionName: '2.0'
    versionCode: 20
    commit: v2
    timeout: 10800
  - versionName: '2.0'
    versionCode: 21
    commit: v2
UpdateCheckMode: Tags
CurrentVersion: '2.0'
CurrentVersionCode: 21
"""

OFF = APP.replace("    timeout: 10800", "    disable: it does not build")


class World:
    """A description, metadata in git, and where the password is."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.password = folder / "submit/passwd"
        self.config = folder / "fdroid-bb.toml"
        text = CONFIG.replace("PORT", str(self.port)).replace("FILE", str(self.password))
        self.config.write_text(text)
        self.data = folder / "fdroiddata"
        (self.data / "metadata").mkdir(parents=True)
        self.app("org.example.a", APP)
        self.app("org.example.b", OFF)
        self.app("org.example.disabled", f"Disabled: gone\n{APP}")
        self.app("org.example.archived", f"ArchivePolicy: 0\n{APP}")

    def app(self, name: str, text: str) -> None:
        (self.data / f"metadata/{name}.yml").write_text(text)

    def commit(self) -> str:
        """Put the metadata into git; the commit."""
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        for args in (
            ("init", "-q", "-b", "master"),
            ("add", "."),
            (*identity, "commit", "-qm", "x"),
        ):
            subprocess.run(["git", "-C", str(self.data), *args], check=True, capture_output=True)
        done = subprocess.run(
            ["git", "-C", str(self.data), "rev-parse", "HEAD"], check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def run(self, *args: str, stdin: str | None = None) -> tuple[int, str, str]:
        """How it ends, and what it says."""
        program = os.environ.get("FDROID_BB", str(ROOT / "target/release/fdroid-bb"))
        command = [program, "schedule", "--config", str(self.config), "--fdroiddata"]
        done = subprocess.run(
            [*command, str(self.data), *args],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            input=stdin,
        )
        assert PASSWORD not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    def put_password(self, text: str = PASSWORD) -> None:
        self.password.parent.mkdir(exist_ok=True, mode=0o700)
        self.password.write_text(text)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def master(world: World, tmp_path: Path) -> Iterator[Master]:
    config = MASTER.replace("SUBMIT", str(world.port)).replace("FILE", str(world.password))
    with Master(tmp_path / "master", config) as master:
        yield master


def changes(master: Master) -> list[dict[str, Any]]:
    """All that arrived, without what differs between any two."""
    found: list[dict[str, Any]] = master.rest("changes")["changes"]
    for change in found:
        for key in ("changeid", "when_timestamp", "parent_changeids"):
            del change[key]
        for key in ("ssid", "created_at"):
            del change["sourcestamp"][key]
    return found


def test_a_change_is_what_buildbot_would_send(world: World, master: Master) -> None:
    commit = world.commit()
    # Of the commit, whatever somebody does in the checkout.
    world.app("org.example.a", OFF)
    assert world.run("org.example.a")[0] == 0
    for code, seconds in (("20", "10800"), ("21", "7200")):
        command = [
            str(Path(sys.executable).parent / "buildbot"),
            "sendchange",
            f"--master=127.0.0.1:{world.port}",
            f"--auth=fdroid:{PASSWORD}",
            "--branch=master",
            "--repository=https://gitlab.com/fdroid/fdroiddata.git",
            f"--revision={commit}",
            "--category=build",
            f"--who=org.example.a:{code}",
            "--project=org.example.a",
            f"--property=versionCode:{code}",
            "--property=packageName:org.example.a",
            f"--property=timeout:{seconds}",
            "metadata/org.example.a.yml",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    found = changes(master)
    assert len(found) == 4
    # Each is there twice.
    found.sort(key=lambda change: str(change["author"]))
    assert [found[0], found[2]] == [found[1], found[3]]
    assert [found[0]["author"], found[2]["author"]] == ["org.example.a:20", "org.example.a:21"]


def test_what_is_pending(world: World) -> None:
    repository = world.config.parent / "repository"

    def dry(*args: str) -> list[str]:
        code, out, err = world.run("--dry-run", *args)
        assert code == 0, err
        lines = out.splitlines()
        if "would be" in out:
            # There is none yet.
            assert lines.pop().startswith("the master was not asked what it has built: ")
        return lines

    everything = ["org.example.a:20", "org.example.a:21", "org.example.b:21"]
    assert dry("--all") == [*everything, "3 builds of 4 apps would be submitted"]
    (repository / "unsigned").mkdir(parents=True)
    (repository / "archive").mkdir()
    (repository / "unsigned/org.example.a_20.zip").touch()
    # Not what was built, but what lies beside it.
    (repository / "unsigned/org.example.a_21.log").touch()
    (repository / "unsigned/org.example.a_21.apk.json").touch()
    (repository / "archive/org.example.b_21.apk").touch()
    assert dry("--all", "--repository", str(repository))[:-1] == ["org.example.a:21"]
    said = dry("org.example.b", "--repository", str(repository))
    assert said == ["nothing to do: the current version of 1 app is built"]
    # Nor what is about to be published, or is being signed elsewhere.
    for folder in ("built", "publishing/taken", "outbox"):
        (repository.parent / folder / "org.example.a_21").mkdir(parents=True)
        said = dry("--all", "--repository", str(repository))
        assert said == ["nothing to do: the current version of 4 apps is built"], folder
        (repository.parent / folder / "org.example.a_21").rmdir()
    listed = world.config.parent / "list"
    listed.write_text("# those of today\norg.example.b  # soon\n\n")
    assert dry("--list", str(listed))[0] == "org.example.b:21"
    code, out, _ = world.run("--dry-run", "--list", "-", "--format", "json", stdin="org.example.b")
    assert code == 0
    assert json.loads(out)["builds"] == [
        {"packageName": "org.example.b", "timeout": "7200", "versionCode": "21"}
    ]


def test_what_is_asked_wrongly_is_said(world: World) -> None:
    code, _, err = world.run("org.exmaple.a")
    assert (code, err) == (
        1,
        "error: there is no app `org.exmaple.a`\nhelp: did you mean `org.example.a`?\n",
    )
    assert world.run()[0] == 64
    assert world.run("--all", "org.example.a")[0] == 64
    code, _, err = world.run("--all", "--repository", "/nonexistent")
    assert code == 1
    assert "`/nonexistent` cannot be read" in err
    code, _, err = world.run("--all", "--master", "other")
    assert code == 1
    assert "no master `other`" in err
    world.app("org.example.broken", "Builds: [\n")
    code, _, err = world.run("org.example.broken")
    assert code == 1
    assert "the metadata of `org.example.broken` is broken" in err
    # Of all apps, those that can be read; what is left out is said.
    code, _, err = world.run("--all", "--dry-run")
    assert code == 0
    assert "org.example.broken.yml" in err
    assert "left out: 1 app" in err
    listed = world.config.parent / "list"
    listed.write_text("#" * (5 << 20))
    code, _, err = world.run("--list", str(listed))
    assert code == 1
    assert "file too large" in err


def test_a_thousand_builds_over_one_connection(world: World, master: Master) -> None:
    for number in range(1000):
        world.app(f"org.example.many{number}", OFF)
    accepted = master.log().count("perspective_addChange")
    code, out, err = world.run("--all", "--cycle")
    assert code == 0, err
    assert out.startswith("submitted 1003 builds of 1004 apps in ")
    assert master.log().count("perspective_addChange") - accepted == 1003
    with sqlite3.connect(master.basedir / "state.sqlite") as database:
        query = "SELECT property_value FROM change_properties WHERE property_name = ?"

        def values(name: str) -> list[Any]:
            return [json.loads(row[0])[0] for row in database.execute(query, (name,))]

        assert sorted(map(int, values("buildCycleItem"))) == list(range(1, 1004))
        assert set(values("buildCycleSize")) == {"1003"}
        [cycle] = set(values("buildCycleUuid"))
    assert len(cycle) == 32
    assert int(cycle, 16)


def test_nobody_there_and_a_password_that_is_not_the_masters(world: World, master: Master) -> None:
    world.put_password("another one")
    code, _, err = world.run("--all")
    assert code == 5
    assert "the master refuses the user or the password; 0 of 3 builds were submitted" in err
    assert changes(master) == []
    master.stop()
    code, _, err = world.run("--all")
    assert code == 5
    assert "refused" in err
    assert "start the master" in err


def test_a_password_that_others_can_change_is_none(world: World) -> None:
    code, _, err = world.run("--all")
    assert code == 5
    assert "there is no password" in err
    world.put_password()
    world.password.chmod(0o666)
    assert "others can write to it" in world.run("--all")[2]
    world.password.unlink()
    world.password.symlink_to("/etc/hostname")
    assert "it is a link" in world.run("--all")[2]
    if os.geteuid() == 0:
        world.password.unlink()
        world.put_password()
        os.chown(world.password, 65534, 65534)
        assert "it belongs to another user" in world.run("--all")[2]


def _faulty(world: World, behave: Callable[[socket.socket], None]) -> None:
    """For faults that a real master does not have: one that answers as `behave` does."""
    listener = socket.create_server(("127.0.0.1", world.port))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            behave(connection)

    threading.Thread(target=serve, daemon=True).start()
    world.put_password()


DIALECTS = b"\x02\x80\x02\x82pb\x04\x82none"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "the master closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the answer has too large a number"),
        (b"\x7f\x7f\x7f\x7f\x7f\x82", "the answer has too long a part"),
        (b"\x01\x80" * 1000, "the answer is nested too deeply"),
        (b"\x01\x80\x02\x82pb", "it offers no dialect that is known"),
        (DIALECTS + b"\x01\x81", "it says something that is no message"),
        (DIALECTS + b"\x03\x80\x06\x82answer\x01\x81\x01\x81", "its challenge is none"),
    ],
)
def test_what_is_no_master_is_told(world: World, sent: bytes, said: str) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    _faulty(world, behave)
    code, _, err = world.run("--all")
    assert code == 5
    assert said in err
    assert "0 of 3 builds were submitted" in err


def test_a_master_that_says_little_for_ever(world: World) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(DIALECTS)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"\x02\x80\x07\x82version\x06\x81")
                time.sleep(0.2)

    _faulty(world, behave)
    code, _, err = world.run("--all")
    assert code == 5
    assert "the master gave no answer within 30 seconds" in err


def test_a_master_that_goes_away_in_the_middle(world: World, master: Master) -> None:
    for number in range(3000):
        world.app(f"org.example.many{number}", OFF)
    result: list[tuple[int, str, str]] = []
    thread = threading.Thread(target=lambda: result.append(world.run("--all")))
    thread.start()
    wait_for("some changes", lambda: master.log().count("perspective_addChange") > 100)
    master.kill()
    thread.join(60)
    [(code, out, err)] = result
    assert code == 5
    done = int(err.split(" of 3003 builds were submitted")[0].rsplit(" ", 1)[1])
    assert 0 < done < 3003
    # The others are named, so that they can be submitted again.
    assert len(out.splitlines()) == len(set(out.splitlines())) == 3003 - done
    with sqlite3.connect(master.basedir / "state.sqlite") as database:
        kept = database.execute("SELECT count(*) FROM changes").fetchone()[0]
    # What was said to be submitted is there.
    assert kept >= done


def test_the_whole_of_fdroiddata_has_fdroidservers_list_and_abi_splits(
    world: World, corpus: Path
) -> None:
    """What fdroidserver itself read of half of the apps says which builds it would send."""
    world.data = corpus
    code, out, err = world.run("--all", "--dry-run", "--format", "json")
    assert code == 0, err
    found = {(b["packageName"], int(b["versionCode"])) for b in json.loads(out)["builds"]}
    oracle = corpus_folder() / "oracle-half.jsonl.xz"
    with lzma.open(oracle, "rt") as file:
        apps = [json.loads(line) for line in file]
    sent, splits = set(), set()
    for app in apps:
        if app["Disabled"] or app["ArchivePolicy"] == 0:
            continue
        builds = [build for build in app["Builds"] if not build["disable"]]
        current = [b for b in app["Builds"] if b["versionCode"] == app["CurrentVersionCode"]]
        commits = {build["commit"] for build in current}
        for build in builds:
            key = (app["id"], build["versionCode"])
            if build in current:
                sent.add(key)
            elif build["versionName"] == app["CurrentVersion"] and build["commit"] in commits:
                splits.add(key)
    assert len(sent) > 2000
    assert len(splits) > 300
    ids = {app["id"] for app in apps}
    assert {key for key in found if key[0] in ids} == sent | splits
