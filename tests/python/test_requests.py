# SPDX-License-Identifier: GPL-2.0-or-later
"""What `fdroid-bb schedule` asks a real master for, and what `fdroid-bb pause` holds back."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from masters import PATIENCE, Master, free_ports, wait_for
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

[workers]
one = { master = "main", local = {} }
two = { master = "main", local = {} }

[builders.build]
workers = ["one"]
page = "packageName"
collapse = ["packageName", "versionCode"]
properties.packageName = { type = "app-id" }
properties.versionCode = { type = "integer" }
properties.timeout = { type = "seconds", optional = true }
properties.machine = { type = "text", optional = true }
steps = [
  { run = ["cat", "MACHINE"], set-property = "machine" },
  { name = "gate", run = ["sh", "-c", "while [ ! -e GATE ]; do sleep 0.05; done"] },
  { run = ["python3", "-c", "import sys; sys.exit('.bad' in sys.argv[1])", "{packageName}"] },
]

[builders.publish]
workers = ["two"]
steps = [{ run = ["true"] }]

[schedulers.submitted]
on = { submitted = "build" }
builders = ["build"]

[schedulers.then]
on = { after = "build" }
builders = ["publish"]
quiet-time = "QUIET"
max-wait = "MOST"
"""

BLOCK = """\
  - versionName: '1.{code}'
    versionCode: {code}
    commit: v{code}
"""

APP = """\
RepoType: git
Repo: https://example.org/x.git
Builds:
{blocks}UpdateCheckMode: Tags
CurrentVersion: '1.{current}'
CurrentVersionCode: {current}
"""


class World:
    """A master of CONFIG, and a clone of fdroiddata."""

    def __init__(self, folder: Path, quiet: str = "1min", most: str = "1h") -> None:
        self.gate, self.machine = folder / "gate", folder / "machine"
        self.machine.write_text("box 1")
        www_port, pb_port, submit_port = free_ports(3)
        values = {
            "WWW_PORT": www_port,
            "PB_PORT": pb_port,
            "SUBMIT_PORT": submit_port,
            "PASSWORD_FILE": folder / "shared/passwd",
            "MACHINE": self.machine,
            "GATE": self.gate,
            "QUIET": quiet,
            "MOST": most,
        }
        text = CONFIG
        for name, value in values.items():
            text = text.replace(name, str(value))
        self.config = folder / "fdroid-bb.toml"
        self.config.write_text(text)
        self.data = folder / "fdroiddata"
        (self.data / "metadata").mkdir(parents=True)
        self.git("init", "-q", "-b", "master")
        masters = generate(self.config, self.data, folder / "out")
        self.basedirs = folder / "basedirs"
        path = masters / "main/master.cfg"
        self.master = Master(self.basedirs / "main", configfile=path, www_port=www_port)

    def git(self, *args: str) -> str:
        """What git says of the clone."""
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(self.data), *identity, *args]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def app(self, name: str, *codes: int, off: tuple[int, ...] = (), head: str = "") -> None:
        """Write an app with these builds, of which the last is the current one."""
        blocks = "".join(
            BLOCK.format(code=code) + ("    disable: later\n" if code in off else "")
            for code in codes
        )
        text = head + APP.format(blocks=blocks, current=codes[-1])
        (self.data / f"metadata/{name}.yml").write_text(text)

    def commit(self) -> str:
        """Commit what was written."""
        self.git("add", "-A")
        self.git("commit", "-qm", "x", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def say(self, command: str, *args: str, code: int = 0) -> str:
        """What a command of fdroid-bb prints, which ends with `code`."""
        begin = [PROGRAM, command, "--config", str(self.config), "--fdroiddata", str(self.data)]
        done = subprocess.run([*begin, *args], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout or done.stderr

    def schedule(self, *args: str) -> tuple[set[str], dict[str, set[str]]]:
        """What was submitted, and what was not by the reason."""
        found = json.loads(self.say("schedule", "--format", "json", *args))
        builds = {f"{b['packageName']}:{b['versionCode']}" for b in found["builds"]}
        return builds, {state: set(keys) for state, keys in found["kept"].items()}

    def builds(self, count: int) -> list[dict[str, Any]]:
        """All builds of apps, once there are so many and all are complete."""

        def complete() -> list[dict[str, Any]]:
            path = "builds?property=packageName&property=versionCode&order=buildid"
            found = [b for b in self.master.rest(path)["builds"] if b["properties"]]
            done = len(found) >= count and all(build["complete"] for build in found)
            return found if done else []

        return wait_for(f"{count} builds", complete)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.master:
        yield world


def test_what_is_under_way_or_has_ended_is_not_asked_for_again(world: World) -> None:
    world.app("org.example.a", 1, 2)
    world.app("org.example.b", 5)
    world.app("org.example.bad", 7)
    world.commit()
    every = {"org.example.a:2", "org.example.b:5", "org.example.bad:7"}
    assert world.schedule("--all") == (every, {})
    # At once, and by name too.
    builds, kept = world.schedule("--all")
    assert builds == set()
    assert set.union(*kept.values()) == every
    assert world.schedule("org.example.b")[0] == set()
    wait_for("a build", lambda: world.master.rest("builds")["builds"])
    kept = world.schedule("--all")[1]
    assert {state: len(keys) for state, keys in kept.items()} == {"queued": 2, "running": 1}
    world.gate.touch()
    world.builds(3)
    ended = {"built": {"org.example.a:2", "org.example.b:5"}, "failed": {"org.example.bad:7"}}
    assert world.schedule("--all") == (set(), ended)
    assert "left out: 1 build failed; nothing has changed since" in world.say("schedule", "--all")
    # The master knows it from its database.
    world.master.kill()
    world.master.start()
    assert world.schedule("--all") == (set(), ended)
    # Another app's commit is no reason, its own is.
    world.app("org.example.c", 1, off=(1,))
    world.commit()
    assert world.schedule("--all") == (set(), ended)
    world.app("org.example.bad", 7, head="Name: now it must work\n")
    world.commit()
    assert world.schedule("--all")[0] == {"org.example.bad:7"}
    world.builds(4)
    assert world.schedule("--all")[0] == set()
    # Somebody asks for it.
    assert world.schedule("org.example.bad")[0] == {"org.example.bad:7"}
    world.builds(5)
    # Another box: known from the first build that it made.
    world.machine.write_text("box 2")
    assert world.schedule("--all")[0] == set()
    world.schedule("org.example.a")
    world.builds(6)
    assert world.schedule("--all") == ({"org.example.bad:7"}, {"built": ended["built"]})
    world.builds(7)
    assert world.schedule("--all")[0] == set()
    # One that failed before it could say so is no reason to try again and again.
    world.machine.unlink()
    assert world.schedule("org.example.bad")[0] == {"org.example.bad:7"}
    world.builds(8)
    assert world.schedule("--all")[0] == set()


def test_what_lies_beside_the_repository(world: World) -> None:
    world.app("org.example.a", 1)
    world.app("org.example.b", 2)
    world.app("org.example.c", 3)
    world.commit()
    repository = world.config.parent / "output/repository"
    (repository / "repo").mkdir(parents=True)
    (repository.parent / "built/org.example.a_1/unsigned").mkdir(parents=True)
    (repository.parent / "refused/org.example.b_2").mkdir(parents=True)
    where = ("--repository", str(repository))
    refused = {"refused": {"org.example.b:2"}}
    assert world.schedule("--all", *where) == ({"org.example.c:3"}, refused)
    assert world.schedule("org.example.b", *where)[0] == {"org.example.b:2"}


def test_equal_requests_that_wait_are_one_and_the_higher_priority_wins(world: World) -> None:
    world.app("org.example.first", 1)
    world.app("org.example.a", 1, 2)
    world.commit()
    world.schedule("org.example.first")
    wait_for("a build", lambda: world.master.rest("builds")["builds"])
    buildbot = Path(sys.executable).with_name("buildbot")
    password = (world.config.parent / "shared/passwd").read_text().strip()
    port = world.config.read_text().split('submit = { listen = "127.0.0.1:')[1].split('"')[0]
    for version in (1, 2, 2, 2):
        properties = ("packageName:org.example.a", f"versionCode:{version}")
        command = [
            *(str(buildbot), "sendchange", f"--master=127.0.0.1:{port}"),
            *(f"--auth=fdroid:{password}", "--category=build", "--who=x"),
            *(f"--property={text}" for text in properties),
            "--project=org.example.a",
            "x",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def waiting() -> int:
        path = "buildrequests?claimed=false&complete=false"
        return len(world.master.rest(path)["buildrequests"])

    wait_for("two requests", lambda: waiting() == 2)
    world.gate.touch()
    builds = world.builds(3)
    codes = [int(build["properties"]["versionCode"][0]) for build in builds]
    assert codes == [1, 1, 2]


def test_merged_builds_are_asked_for_once(world: World) -> None:
    world.app("org.example.a", 1, 2)
    world.app("org.example.old", 1, 2, 3)
    world.commit()
    asked: list[str] = []

    def merge() -> set[str]:
        world.commit()
        builds, kept = world.schedule("--merged")
        asked.extend(builds)
        assert kept == {}
        return builds

    # Never all there is at the first start.
    said = world.say("schedule", "--merged")
    assert "nothing to do\nmerged builds are submitted from now on: those after " in said
    assert merge() == set()
    # Whether or not it is the current version; several commits at once; exactly those.
    world.app("org.example.a", 1, 2, 3, 4)
    world.commit()
    world.app("org.example.old", 1, 2, 4, 3)
    world.app("org.example.new", 1, 2, off=(1,))
    expected = {"org.example.a:3", "org.example.a:4", "org.example.old:4", "org.example.new:2"}
    assert merge() == expected
    assert merge() == set()
    # Enabled; disabled.
    world.app("org.example.new", 1, 2)
    world.app("org.example.a", 1, 2, 3, 4, off=(4,))
    assert merge() == {"org.example.new:1"}
    # Added and reverted before anybody looked.
    world.app("org.example.a", 1, 2, 3, 4, 5)
    world.commit()
    world.git("revert", "--no-edit", "HEAD")
    assert merge() == set()
    # History is rewritten: other commits, and what git then forgets.
    world.app("org.example.a", 1, 2, 3, 5)
    assert merge() == {"org.example.a:5"}
    world.git("reset", "-q", "--hard", "HEAD~3")
    world.app("org.example.a", 1, 2, 3, 5, 6)
    world.git("add", "-A")
    world.git("commit", "-q", "--amend", "-m", "rewritten")
    world.git("reflog", "expire", "--expire=now", "--all")
    world.git("gc", "-q", "--prune=now")
    assert merge() == {"org.example.a:6"}
    # Broken, then whole again, with a build more.
    whole = (world.data / "metadata/org.example.old.yml").read_text()
    (world.data / "metadata/org.example.old.yml").write_text("Builds: [\n")
    (world.data / "metadata/org.example.born.yml").write_text("Builds: [\n")
    world.app("org.example.b", 1)
    assert merge() == {"org.example.b:1"}
    assert merge() == set()
    (world.data / "metadata/org.example.old.yml").write_text(whole)
    world.app("org.example.old", 1, 2, 3, 4, 9)
    world.app("org.example.born", 1)
    assert merge() == {"org.example.old:9", "org.example.born:1"}
    # The master is down: later, and nothing is lost.
    world.master.stop()
    world.app("org.example.b", 1, 2)
    world.commit()
    world.say("schedule", "--merged", code=5)
    world.app("org.example.b", 1, 2, 3)
    world.commit()
    world.master.start()
    assert merge() == {"org.example.b:2", "org.example.b:3"}
    # The cursor is lost with the clone, or a crash kept it back: the master knows what it has.
    world.git("update-ref", "refs/fdroid-bb/requested", "HEAD~2")
    builds, kept = world.schedule("--merged")
    assert builds == set()
    assert set.union(*kept.values()) == {"org.example.b:3"}
    assert sorted(asked) == sorted(set(asked))
    with sqlite3.connect(world.master.basedir / "state.sqlite") as database:
        [(count,)] = database.execute("SELECT count(*) FROM changes")
    assert count == len(asked)


def blocks(text: str) -> set[int]:
    """The version codes that can be built, by another reader of YAML."""
    app = yaml.safe_load(text)
    if app.get("Disabled"):
        return set()
    return {int(b["versionCode"]) for b in app.get("Builds") or () if not b.get("disable")}


def test_five_hundred_commits_ask_for_what_they_add(world: World, corpus: Path) -> None:
    """In pieces of several commits, as they come when the master is busy, some of them twice."""
    world.git("fetch", "-q", str(corpus), "dev")
    commits = world.git("rev-list", "--first-parent", "--reverse", "-n", "501", "FETCH_HEAD")
    states = commits.split()
    shuffled = random.Random(12)
    at, stops = 0, [0]
    while at < 500:
        at = min(500, at + shuffled.choice((1, 20, 80)))
        stops.append(at)
    expected = []
    for old, new in pairwise(stops):
        between = (states[old], states[new])
        names = world.git("diff", "--name-only", "--no-renames", *between, "--", "metadata")
        for name in names.splitlines():
            texts = []
            for state in between:
                there = world.git("ls-tree", state, "--", name)
                texts.append(world.git("show", f"{state}:{name}") if there else "{}")
            before, after = map(blocks, texts)
            expected += [f"{Path(name).stem}:{code}" for code in after - before]
    found: list[str] = []
    for stop in stops:
        for _ in range(shuffled.choice((1, 2))):
            builds, _ = world.schedule("--merged", "--rev", states[stop])
            found += builds
    assert len(expected) > 200
    # One that is added, taken back and added again waits all the time.
    assert sorted(found) == sorted(set(expected))


def test_what_is_paused_waits_and_says_so(world: World) -> None:
    where = ("--basedirs", str(world.basedirs))
    world.gate.touch()
    assert world.say("pause", *where) == "main: paused: nothing\n"
    said = world.say("pause", "--app", "org.example.a", "--reason", "its owner\nasks", *where)
    assert said == "main: paused: app org.example.a; what runs goes on\n"
    world.app("org.example.a", 1)
    world.app("org.example.b", 1)
    world.commit()
    said = world.say("schedule", "--all")
    assert "submitted 2 builds" in said
    assert "paused: app org.example.a, since " in said
    assert "UTC: its owner asks" in said
    [build] = world.builds(1)
    assert build["properties"]["packageName"][0] == "org.example.b"
    page = world.master.ask("GET", "/plugins/wsgi_dashboards/apps/index.html").text
    assert "paused: app org.example.a, since " in page
    # The builder too; over a restart.
    world.say("pause", "--builder", "build", *where)
    world.say("resume", "--app", "org.example.a", *where)
    world.master.stop()
    world.master.start()
    assert world.say("pause", *where) == "main: paused: builder build\n"
    world.schedule("org.example.b")
    world.say("pause", "--all", *where)
    world.say("resume", "--builder", "build", *where)
    resumed = int(time.time())
    world.say("resume", "--all", *where)
    builds = world.builds(3)
    assert all(build["started_at"] >= resumed for build in builds[1:])
    assert "no builder `biuld`\nhelp: did you mean `build`?" in world.say(
        "pause", "--builder", "biuld", *where, code=1
    )
    assert "is no application id" in world.say("pause", "--app", "../x", *where, code=1)


def test_builds_are_published_once_it_is_quiet_or_has_lasted(tmp_path: Path) -> None:
    world = World(tmp_path, quiet="20s", most="60s")
    world.gate.touch()
    for number in range(3):
        world.app(f"org.example.a{number}", 1)
    world.commit()

    def published() -> list[dict[str, Any]]:
        found = world.master.builderid("publish")
        return list(world.master.rest(f"builders/{found}/builds")["builds"])

    with world.master:
        world.schedule("--all")
        ended = [build["complete_at"] for build in world.builds(3)]
        # What it waits for is not lost.
        world.master.kill()
        world.master.start()
        [build] = world.master.builds("publish", 1)
        assert build["started_at"] - max(ended) >= 19
        assert len(published()) == 1
        # It is never quiet.
        begun = None
        while len(published()) == 1:
            world.schedule("org.example.a1")
            ended = [build["complete_at"] for build in world.builds(4)]
            begun = begun or ended[-1]
        publish = published()[1]
        assert 40 <= publish["started_at"] - begun <= 70
