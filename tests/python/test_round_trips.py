# SPDX-License-Identifier: GPL-2.0-or-later
"""A running master that goes from one configuration to another and back, or on.

Every kind of object is changed at once, by the real `apply` and `rollback`: A → B → A, then
A → B → C. After each way, a build that needs the object finds it as the last configuration has it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import DOCKER_IMAGE
from mails import Mails
from masters import PATIENCE, Master, free_ports, put_secrets, wait_for
from program import fdroid_bb
from repositories import Repository, Server
from shipped import polled

SUCCESS, FAILURE = 0, 2

APP = "org.example.app"

HEAD = """
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[apps]
poll-interval = "1s"

[remotes]
schemes = ["http"]
allow-hosts = ["127.0.0.1"]

[masters.main]
title = "Round trips"
url = "http://127.0.0.1:WWW_PORT/"
worker-listen = "127.0.0.1:PB_PORT"

[masters.main.web]
listen = "127.0.0.1:WWW_PORT"
users.admin = { password = { secret = "admin" }, roles = ["admin"] }
allow = { force = ["admin"], stop = ["admin"] }
"""

# Workers with a machine for each build, and workers that are always there.
KINDS = {
    "docker": f"""docker = {{ image = "{DOCKER_IMAGE}", network = "host", \
master-host = "127.0.0.1", memory = "MEMORY", volumes = ["FOLDER/gate:FOLDER/gate:ro"] }}""",
    "local": "local = {}",
}


def worker(name: str, kind: str = "KIND(300MiB)", count: int = 1) -> str:
    return f"""
[workers.{name}]
master = "main"
count = {count}
start-timeout = "1min"
{kind}
"""


def builder(name: str, workers: str, shell: str, *more: str, step: str = "run") -> str:
    names = ", ".join(f'"{name}"' for name in workers.split())
    lines = "\n".join(more)
    return f"""
[builders.{name}]
workers = [{names}]
{lines}

[[builders.{name}.steps]]
name = "{step}"
run = ["sh", "-c", '{shell}']
"""


def scheduler(name: str, on: str, *builders: str) -> str:
    names = ", ".join(f'"{name}"' for name in builders)
    return f"\n[schedulers.{name}]\non = {on}\nbuilders = [{names}]\n"


def submit(user: str) -> str:
    return f"""
[masters.main.submit]
listen = "127.0.0.1:{user.upper()}_PORT"
user = "{user}"
password-file = "FOLDER/{user}/passwd"
"""


def mail(to: str, step: str) -> str:
    return f"""
[reporters.mail]
builders = ["fails"]

[reporters.mail.mail]
from = "a@example.org"
to = ["{to}@example.org"]
relay = "127.0.0.1"
port = MAIL_PORT
""" + builder("fails", "vm", "exit 1", step=step)


def user(role: str, secret: str) -> str:
    return f"""
[masters.main.web.users.helper]
password = {{ secret = "{secret}" }}
roles = ["{role}"]
"""


# Ends once the test says so.
GATE = "while ! test -e FOLDER/gate/open; do sleep 0.1; done"


def locks(sharers: int) -> str:
    lock = 'locks = { narrow = "shared" }'
    return (
        f"\n[locks.narrow]\nmax-holders = {sharers}\n"
        + builder("locked-1", "vm", GATE, lock)
        + builder("locked-2", "other", GATE, lock)
    )


def sized(memory: str) -> str:
    shell = "cd /sys/fs/cgroup; cat memory.max memory/*.limit_in_bytes; true"
    return worker("sized", f"KIND({memory})") + builder("sized", "sized", shell)


PACKAGE = 'properties.packageName = { type = "app-id" }'
PAGE = 'page = "packageName"'

# What each object is in A, in B and in C.
OBJECTS = [
    # builder
    (builder("verify", "vm", "echo a"), "", builder("verify", "vm", "echo c")),
    # the workers of a builder
    (
        builder("moved", "vm", "echo a"),
        builder("moved", "other", "echo b"),
        builder("moved", "third", "echo c"),
    ),
    # worker
    (
        worker("old") + builder("renamed", "old", "echo a"),
        worker("new") + builder("renamed", "new", "echo b"),
        worker("old", count=2) + builder("renamed", "old", "echo c"),
    ),
    # the kind of a worker
    (
        worker("changing") + builder("changed", "changing", "echo a"),
        worker("changing", 'remote = { password = { secret = "admin" } }')
        + builder("changed", "changing", "echo b"),
        worker("changing") + builder("changed", "changing", "echo c"),
    ),
    # the settings of a worker
    (sized("300MiB"), sized("200MiB"), sized("250MiB")),
    # lock
    (locks(1), locks(2), locks(3)),
    # scheduler
    (
        scheduler("sent", '{ submitted = "one" }', "sent"),
        "",
        scheduler("sent", '{ submitted = "two" }', "sent"),
    ),
    # a scheduler that follows a builder
    (
        scheduler("then", '{ after = "moved" }', "after"),
        "",
        scheduler("then", '{ after = "renamed" }', "after"),
    ),
    # where changes are submitted
    (submit("anna"), submit("bert"), submit("carl")),
    # reporter
    (mail("a", "first"), mail("b", "first"), mail("c", "second")),
    # user
    (user("admin", "helper-a"), user("nobody", "helper-a"), user("admin", "helper-c")),
    # page
    (
        builder("paged", "vm", "echo a", PAGE, PACKAGE),
        builder("paged", "vm", "echo b", PACKAGE),
        builder("paged", "vm", "echo c", PAGE, PACKAGE),
    ),
    # choice, see CHOSEN
    (
        2 * (builder("varied", "vm", "true", 'when.way = "chosen"'),)
        + (builder("varied", "vm", "true"),)
    ),
    (
        2 * (builder("left", "vm", "true", 'when.way = "another"'),)
        + (builder("left", "vm", "true"),)
    ),
    # what is needed to show the others
    3 * (worker("vm") + worker("other") + worker("third"),),
    3 * (builder("sent", "vm", "true"),),
    3 * (builder("after", "other", "true"),),
    3 * (builder("free", "other", "true"),),
    3 * (builder("polled", "other", "true", PACKAGE),),
    3 * (scheduler("sources", '"app-source"', "polled"),),
]
CHOSEN = ["chosen", "another", "chosen"]

# Which tags of the app count.
APPS = ["^a", None, "^c"]

# One name for two: Buildbot takes half of it.
TWIN = """
from fdroid_bb import AppGitPoller
c["change_source"] += [
    AppGitPoller("twin", f"https://git.example.org/{n}.git", branch="main") for n in (1, 2)
]
"""


class World:
    """A master with workers of a kind, and the configurations it goes through."""

    def __init__(self, folder: Path, kind: str, repository: Repository, mails: Mails) -> None:
        self.folder = folder
        self.kind = kind
        self.repository = repository
        self.mails = mails
        # A container looks into it as a user of its own.
        self.gate = folder / "gate/open"
        self.gate.parent.mkdir()
        self.gate.parent.chmod(0o755)
        self.out = folder / "out"
        self.out.mkdir()
        self.app = folder / f"fdroiddata/metadata/{APP}.yml"
        self.app.parent.mkdir(parents=True)
        ports = free_ports(5)
        names = ("WWW_PORT", "PB_PORT", "ANNA_PORT", "BERT_PORT", "CARL_PORT")
        self.values = {
            **dict(zip(names, map(str, ports), strict=True)),
            "FOLDER": str(folder),
            "MAIL_PORT": str(mails.server_address[1]),
        }
        self.describe(0)
        self.run("generate", "--fdroiddata", self.app.parent.parent)
        basedir = folder / "bases/main"
        put_secrets(basedir, {"admin": "admin", "helper-a": "helper a", "helper-c": "helper c"})
        self.config = self.out / "masters/main/master.cfg"
        self.master = Master(basedir, configfile=self.config, www_port=ports[0])

    def describe(self, which: int, *, without: str = "") -> None:
        """Write A, B or C, without some builders."""
        objects = "".join(o[which] for o in OBJECTS)
        for name in without.split():
            block = (
                rf"\n\[builders\.{name}\]\n.*?\n\[\[builders\.{name}\.steps\]\]\n.*?\n(?=\n\[|$)"
            )
            objects, count = re.subn(block, "", objects, flags=re.DOTALL)
            assert count == 1, name
        choice = f'choices.way = {{ of = ["chosen", "another"], chosen = "{CHOSEN[which]}" }}\n'
        text = f"{choice}{HEAD}{objects}"
        text += scheduler("button", '"force"', *re.findall(r"\n\[builders\.(.*)\]\n", text))
        text = re.sub(r"KIND\((.*)\)", lambda m: KINDS[self.kind].replace("MEMORY", m[1]), text)
        for name, value in self.values.items():
            text = text.replace(name, value)
        (self.out / "fdroid-bb.toml").write_text(text)
        self.app.unlink(missing_ok=True)
        if APPS[which] is not None:
            mode = f"UpdateCheckMode: Tags {APPS[which]}\n"
            self.app.write_text(f"RepoType: git\nRepo: {self.repository.url}\n{mode}")

    def run(self, command: str, *more: str | Path) -> str:
        return fdroid_bb(
            command, "--config", self.out / "fdroid-bb.toml", "--out", self.out, *more, both=True
        )

    def bring(self, command: str, *more: str | Path, became: str = "reconfigured") -> None:
        """The master runs something else afterwards."""
        buildbot = Path(sys.executable).parent / "buildbot"
        masters = ("--basedirs", self.folder / "bases", "--buildbot", buildbot)
        data = ("--fdroiddata", self.app.parent.parent)
        said = self.run(command, *data, *masters, *more)
        assert re.search(f"main: ({became})", said), said

    def apply(self, which: int, *more: str, without: str = "") -> None:
        self.describe(which, without=without)
        self.bring("apply", "--accept-vanishing", *more)

    def return_to(self, which: int) -> None:
        """The master runs A, B or C afterwards, whatever it runs."""
        self.describe(which)
        more = ("--accept-vanishing", "--release")
        self.bring("apply", *more, became="reconfigured|runs it already")

    def force(self, name: str, who: str = "admin", password: str = "admin", **values: str) -> int:
        """Press the button; the number of the request."""
        headers = self.master.login(who, password)
        answer = self.master.force("button", name, headers, **values)
        assert answer.status == 200, answer
        _, requests = json.loads(answer.text)["result"]
        return int(next(iter(requests.values())))

    def built(self, request: int, seconds: float = 60) -> dict[str, Any]:
        """The build that was asked for, complete."""

        def complete() -> dict[str, Any] | None:
            path = f"buildrequests/{request}/builds?property=*&complete=true"
            found: list[dict[str, Any]] = self.master.rest(path)["builds"]
            return found[-1] if found else None

        build = wait_for(f"a build for request {request}", complete, seconds)
        assert build is not None
        return build

    def build(self, name: str, **values: str) -> tuple[dict[str, Any], str]:
        """A good build of a builder, and what its step said."""
        build = self.built(self.force(name, **values))
        steps = self.master.steps(build)
        assert build["results"] == SUCCESS, steps
        return build, steps["run"]["text"]

    def running(self, request: int) -> None:
        """Wait until its step has begun."""

        def there() -> bool:
            for build in self.master.rest(f"buildrequests/{request}/builds")["builds"]:
                steps = self.master.rest(f"builds/{build['buildid']}/steps")["steps"]
                if any(step["name"] == "run" and step["started_at"] for step in steps):
                    return True
            return False

        wait_for(f"request {request} to run", there, 60)

    def send(self, category: str, user: str) -> None:
        """Submit a change, as fdroidserver does."""
        password = (self.folder / user / "passwd").read_text().strip()
        command = [
            str(Path(sys.executable).parent / "buildbot"),
            "sendchange",
            f"--master=127.0.0.1:{self.values[f'{user.upper()}_PORT']}",
            f"--auth={user}:{password}",
            f"--category={category}",
            "--who=fdroid",
            "--revision=1",
            "README",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def next_build(self, builder: str, action: Any) -> dict[str, Any]:
        """The build of a builder that something leads to."""
        path = f"builders/{self.master.builderid(builder)}/builds?property=*&order=-number&limit=1"

        def newest() -> dict[str, Any]:
            found: list[dict[str, Any]] = self.master.rest(path)["builds"]
            return found[0] if found else {"number": 0}

        before = newest()["number"]
        action()

        def complete() -> dict[str, Any] | None:
            build = newest()
            return build if build["number"] > before and build["complete"] else None

        build = wait_for(f"a build of {builder}", complete, 60)
        assert build is not None
        return build


# Of the session, so that pytest does not mix the trips of one kind with those of another.
@pytest.fixture(scope="session", params=KINDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    mails = Mails()
    threading.Thread(target=mails.serve_forever, daemon=True).start()
    server = Server(tmp_path_factory.mktemp("repositories"))
    folder = tmp_path_factory.mktemp(request.param)
    world = World(folder, request.param, server.repository(f"{request.param}.git"), mails)
    with world.master:
        yield world
    mails.shutdown()
    mails.server_close()
    server.close()


@pytest.fixture(scope="module", params=["back", "on"])
def trip(request: pytest.FixtureRequest, world: World) -> str:
    """What the master runs: `a` after A → B → A, `c` after A → B → C."""
    if request.param == "back":
        # Each worker has built something before it is taken away.
        for name in ("verify", "moved", "renamed", "changed", "sized"):
            assert "a" in world.build(name)[1] or name == "sized"
        wait_for("the first poll", lambda: polled(world.master.basedir / "state.sqlite", APP), 30)
        world.apply(1)
        world.repository.tag("a1")
        world.bring("rollback")
        return "a"
    world.apply(1, "--release")
    world.apply(2)
    return "c"


def test_a_builder(world: World, trip: str) -> None:
    _, said = world.build("verify")
    assert f"\n{trip}\n" in said


def test_the_workers_of_a_builder(world: World, trip: str) -> None:
    build, said = world.build("moved")
    assert f"\n{trip}\n" in said
    assert build["properties"]["workername"][0] == {"a": "vm", "c": "third"}[trip]


def test_a_worker(world: World, trip: str) -> None:
    build, said = world.build("renamed")
    assert f"\n{trip}\n" in said
    assert build["properties"]["workername"][0] in {"a": ["old"], "c": ["old-1", "old-2"]}[trip]


def test_the_kind_of_a_worker(world: World, trip: str) -> None:
    build, said = world.build("changed")
    assert f"\n{trip}\n" in said
    assert build["properties"]["workername"][0] == "changing"


def test_the_settings_of_a_worker(world: World, trip: str) -> None:
    _, said = world.build("sized")
    if world.kind == "docker":
        mib = {"a": 300, "c": 250}[trip]
        assert f"\n{mib * 1024 * 1024}\n" in said


def test_a_lock(world: World, trip: str) -> None:
    world.gate.unlink(missing_ok=True)
    first = world.force("locked-1")
    world.running(first)
    second = world.force("locked-2")
    if trip == "a":
        # Its worker takes what came after it, so it had its chance, and no lock.
        world.build("free")
        assert not world.master.rest(f"buildrequests/{second}/builds")["builds"]
    else:
        world.running(second)
    world.gate.touch()
    assert world.built(first)["results"] == world.built(second)["results"] == SUCCESS


def test_a_scheduler_and_where_changes_are_submitted(world: World, trip: str) -> None:
    category, user = {"a": ("one", "anna"), "c": ("two", "carl")}[trip]
    build = world.next_build("sent", lambda: world.send(category, user))
    assert build["results"] == SUCCESS


def test_a_scheduler_that_follows_a_builder(world: World, trip: str) -> None:
    before = {"a": "moved", "c": "renamed"}[trip]
    assert world.next_build("after", lambda: world.build(before))["results"] == SUCCESS


def test_a_poller(world: World, trip: str) -> None:
    # One tag came while there was no poller. Of the patterns in between none is in force.
    tags = {"a": ["a2"], "c": ["a3", "c1"]}[trip]

    def push() -> None:
        for tag in tags:
            world.repository.commit()
            world.repository.tag(tag)

    build = world.next_build("polled", push)
    assert build["results"] == SUCCESS
    assert build["properties"]["branch"][0] in {"a": ["a1", "a2"], "c": ["c1"]}[trip]


def test_a_reporter(world: World, trip: str) -> None:
    before = len(world.mails.received)
    assert world.built(world.force("fails"))["results"] == FAILURE
    wait_for("a mail", lambda: len(world.mails.received) > before)
    assert [mail["To"] for mail in world.mails.received[before:]] == [f"{trip}@example.org"]


def test_a_user(world: World, trip: str) -> None:
    request = world.force("free", "helper", f"helper {trip}")
    assert world.built(request)["results"] == SUCCESS
    other = {"a": "c", "c": "a"}[trip]
    with pytest.raises(PermissionError):
        world.master.login("helper", f"helper {other}")


def test_a_page(world: World, trip: str) -> None:
    _, said = world.build("paged", packageName=APP)
    assert f"\n{trip}\n" in said
    build, _ = world.build("paged", packageName=APP)
    assert build["builderid"] == world.master.builderid(APP)


def test_a_choice(world: World, trip: str) -> None:
    world.build("varied")
    if trip == "c":
        world.build("left")


def test_a_builder_that_is_taken_away_while_it_builds(world: World) -> None:
    """Its build ends well and gives back what it holds; no second one runs beside it."""
    world.return_to(0)
    world.gate.unlink(missing_ok=True)
    first = world.force("locked-1")
    world.running(first)
    world.apply(0, without="locked-1")
    world.apply(0)
    second, third = world.force("locked-1"), world.force("locked-2")
    # Both workers were offered what waits by the time they have built what came later.
    world.build("free")
    for request in (second, third):
        assert not world.master.rest(f"buildrequests/{request}/builds")["builds"]
    world.gate.touch()
    for request in (first, second, third):
        assert world.built(request)["results"] == SUCCESS
    unfinished = "buildrequests?complete=false"
    wait_for("all requests", lambda: not world.master.rest(unfinished)["buildrequests"])


def test_half_a_configuration_in_between(world: World) -> None:
    world.return_to(0)
    world.build("verify")
    text = world.config.read_text()
    without, count = re.subn(
        r'    util\.BuilderConfig\(\n +name="verify",.*?\n    \),\n', "", text, flags=re.DOTALL
    )
    assert count == 1
    without = without.replace('"verify", ', "").replace('"verify",\n', "")
    replace(world.config, without + TWIN)
    before = len(world.master.log())
    os.kill(world.master.pid(), signal.SIGHUP)
    wait_for("half", lambda: "partially applied" in world.master.log()[before:])
    replace(world.config, text)
    world.master.reconfig()
    world.build("verify")


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_nothing_went_wrong_on_the_way(world: World) -> None:
    log = re.sub(r"duplicate.*?twin.*?\n\n", "", world.master.log())
    assert "serious error" not in log
    assert not re.search(r"Unhandled|AssertionError|AttributeError", log)
