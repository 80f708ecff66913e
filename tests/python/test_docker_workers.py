# SPDX-License-Identifier: GPL-2.0-or-later
"""DockerLatentWorker as the compiler configures it, with a real engine.

What a push to an app's repository leads to: a change, and a build in a container of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import DOCKER_IMAGE
from masters import PATIENCE, Master, free_port, put_secrets, wait_for
from program import generate
from repositories import Repository, Server

# Docker's default bridge: containers reach the master there.
BRIDGE = "172.17.0.1"

# Of this run alone, also beside another one.
IMAGE = f"fdroid-bb/worker:test-{secrets.token_hex(4)}"

CONFIG = """
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[apps]
poll-interval = "1s"

[remotes]
schemes = ["http"]
allow-hosts = ["127.0.0.1"]

[masters.main]
title = "Containers"
url = "http://127.0.0.1:WWW_PORT/"
worker-listen = "BRIDGE:PB_PORT"

[masters.main.web]
listen = "127.0.0.1:WWW_PORT"
users.admin = { password = { secret = "admin" }, roles = ["admin"] }
allow = { force = ["admin"], stop = ["admin"] }

[workers.container]
master = "main"
start-timeout = "1min"

[workers.container.docker]
image = "IMAGE"
memory = "300MiB"
processes = 77
cpus = 1
master-host = "BRIDGE"

[builders.check]
workers = ["container"]
properties.packageName = { type = "app-id" }
properties.pause = { type = "integer", optional = true }

[[builders.check.steps]]
name = "untouched"
run = ["sh", "-c", "test ! -e $HOME/been-here && touch $HOME/been-here"]

[[builders.check.steps]]
name = "rights"
run = ["grep", "-E", "^(Uid|Cap[A-Z]..|NoNewPrivs):", "/proc/self/status"]

[[builders.check.steps]]
name = "limits"
run = [
    "sh", "-c",
    "cd /sys/fs/cgroup; cat memory.max pids.max memory/*.limit_in_bytes pids/pids.max; true",
]

[[builders.check.steps]]
name = "ways out"
run = ["find", "/var/run", "/run", "/dev", "-name", "docker*", "-o", "-type", "b"]

[[builders.check.steps]]
name = "the app"
run = ["echo", "app {packageName}"]

[[builders.check.steps]]
name = "pause"
run = ["sleep", "0{pause}"]

[schedulers.app-source]
on = "app-source"
builders = ["check"]

[schedulers.button]
on = "force"
builders = ["check"]
"""


def docker(*arguments: str) -> str:
    """What docker prints."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout.strip()


def containers() -> set[str]:
    """Those of the workers, running or not."""
    return set(docker("ps", "-aq", "--no-trunc", "--filter", f"label=run={IMAGE}").split())


def make_image() -> None:
    """The image of the workers, with a label that their containers have too."""
    text = f"FROM {DOCKER_IMAGE}\nLABEL run={IMAGE}\n"
    command = ["docker", "build", "--quiet", "--tag", IMAGE, "-"]
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(command, input=text.encode(), check=True, capture_output=True, env=env)


class Containers:
    """A master with one worker in containers, and the repository of one app."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.repository = repository
        data = folder / "fdroiddata"
        (data / "metadata").mkdir(parents=True)
        (data / "metadata/org.example.pushed.yml").write_text(
            f"RepoType: git\nRepo: {repository.url}\nUpdateCheckMode: Tags\n"
        )
        www_port = free_port()
        values = {
            "WWW_PORT": www_port,
            "PB_PORT": free_port(),
            "BRIDGE": BRIDGE,
            "IMAGE": IMAGE,
        }
        text = CONFIG
        for name, value in values.items():
            text = text.replace(name, str(value))
        config = folder / "fdroid-bb.toml"
        config.write_text(text)
        masters = generate(config, data, folder / "out")
        basedir = folder / "master"
        put_secrets(basedir, {"admin": "a password"})
        path = masters / "main/master.cfg"
        self.master = Master(basedir, configfile=path, www_port=www_port)

    def ask(self, pause: int = 0) -> None:
        """Press the button."""
        who = self.master.login("admin", "a password")
        answer = self.master.force(
            "button", "check", who, packageName="org.example.pushed", pause=str(pause)
        )
        assert answer.status == 200, answer

    def builds(self) -> list[dict[str, Any]]:
        """All so far."""
        path = f"builders/{self.master.builderid('check')}/builds?order=number&property=*"
        found: list[dict[str, Any]] = self.master.rest(path)["builds"]
        return found

    def finished(self, number: int, seconds: float = 60) -> dict[str, Any]:
        """A build, once it is complete."""

        def done() -> dict[str, Any] | None:
            found = self.builds()
            build = found[number - 1] if len(found) >= number else None
            return build if build is not None and build["complete"] else None

        found = wait_for(f"build {number}", done, seconds)
        assert found is not None
        return found

    def pausing(self, number: int) -> int:
        """Wait until a build is in its last step; its id."""

        def there() -> int | None:
            for build in self.builds()[number - 1 :]:
                steps = self.master.rest(f"builds/{build['buildid']}/steps")["steps"]
                if any(step["name"] == "pause" and step["started_at"] for step in steps):
                    return int(build["buildid"])
            return None

        found = wait_for("the last step", there, 60)
        assert found is not None
        return found

    def gone(self) -> None:
        """Wait until there is no container."""
        wait_for("the container to go", lambda: not containers(), 30)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, server: Server, docker_engine: None
) -> Iterator[Containers]:
    make_image()
    world = Containers(tmp_path_factory.mktemp("docker"), server.repository("pushed.git"))
    with world.master:
        yield world
    docker("rmi", IMAGE)


def test_a_pushed_tag_becomes_a_build_in_a_container_of_its_own(world: Containers) -> None:
    # The first poll only records.
    wait_for("the first poll", lambda: _state(world.master), 30)
    commit = world.repository.commit()
    world.repository.tag("v1")
    build = world.finished(1)
    assert build["results"] == 0, world.master.steps(build)
    assert build["properties"]["packageName"] == ["org.example.pushed", "Change"]
    assert build["properties"]["revision"][0] == commit
    assert "\napp org.example.pushed\n" in world.master.steps(build)["the app"]["text"]
    world.gone()


def _state(master: Master) -> bool:
    """Whether the poller has seen its repository."""
    with sqlite3.connect(master.basedir / "state.sqlite") as database:
        query = """
            SELECT count(*) FROM object_state s JOIN objects o ON o.id = s.objectid
            WHERE o.name = ?"""
        return bool(database.execute(query, ("org.example.pushed",)).fetchone()[0])


def test_the_next_build_does_not_find_what_one_wrote(world: Containers) -> None:
    for number in (2, 3):
        world.ask()
        build = world.finished(number)
        assert build["results"] == 0, world.master.steps(build)["untouched"]["text"]
    world.gone()


def test_a_container_has_no_rights_and_has_limits(world: Containers) -> None:
    world.ask(pause=600)
    world.pausing(4)
    (container,) = containers()
    (described,) = json.loads(docker("inspect", container))
    host = described["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["NetworkMode"] != "host"
    assert (host["Memory"], host["PidsLimit"]) == (300 * 1024 * 1024, 77)
    assert host["NanoCpus"] == 1_000_000_000
    assert described["Mounts"] == []
    passwords = {password_of(container)}
    build = world.builds()[3]
    steps = world.master.steps(build)
    rights = dict(
        line.split(":\t", 1) for line in steps["rights"]["text"].splitlines() if ":\t" in line
    )
    assert rights["NoNewPrivs"] == "1"
    assert {int(rights[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert "0" not in rights["Uid"].split()
    limits = steps["limits"]["text"]
    assert "\n314572800\n" in limits
    assert "\n77\n" in limits
    # No socket of the engine, no disk.
    assert "\n/" not in steps["ways out"]["text"]
    _stop(world, build)
    assert world.finished(4)["results"] == 6
    world.gone()
    # What ran before could have kept the password.
    world.ask(pause=600)
    world.pausing(5)
    (container,) = containers()
    passwords.add(password_of(container))
    assert len(passwords) == 2
    _stop(world, world.builds()[4])
    world.gone()


def password_of(container: str) -> str:
    """What a container's worker logs in with."""
    (described,) = json.loads(docker("inspect", container))
    return next(str(v) for v in described["Config"]["Env"] if v.startswith("WORKERPASS="))


def _stop(world: Containers, build: dict[str, Any]) -> None:
    who = world.master.login("admin", "a password")
    body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "enough"}}'
    headers = {"Content-Type": "application/json", **who}
    answer = world.master.ask("POST", f"/api/v2/builds/{build['buildid']}", body, headers)
    assert answer.status == 200, answer


def test_a_missing_image_is_named_and_the_worker_works_once_it_is_there(world: Containers) -> None:
    docker("rmi", IMAGE)
    try:
        world.ask()
        build = world.finished(6, seconds=30)
        assert build["results"] != 0
        said = world.master.steps(build)["worker_preparation"]["text"]
        assert IMAGE in said
        assert "not found" in said
    finally:
        make_image()
    world.ask()
    assert world.finished(7, seconds=90)["results"] == 0
    world.gone()


def test_a_killed_master_leaves_no_container_for_long(world: Containers) -> None:
    world.ask(pause=5)
    world.pausing(8)
    world.master.kill()
    left = containers()
    assert len(left) == 1
    world.master.start()
    # The build is done again, in another container.
    wait_for("a good build", lambda: any(b["results"] == 0 for b in world.builds()[8:]), 90)
    world.gone()
