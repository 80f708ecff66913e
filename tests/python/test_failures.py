# SPDX-License-Identifier: GPL-2.0-or-later
"""On a real master: failures of the infrastructure are repeated and told once, as nobody's fault;
those of the source say why.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reaper
from mails import Mails
from masters import Master, free_ports, put_secrets, wait_for
from program import generate
from test_dashboard import page

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)

CONFIG = r"""
[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "Main"
url = "http://127.0.0.1:WWW_PORT/"
worker-listen = "127.0.0.1:PB_PORT"
web = { listen = "127.0.0.1:WWW_PORT", views = ["dashboard"] }
extra = "extra.py"

[workers]
near = { master = "main", local = {} }
far = { master = "main", remote.password = { secret = "far" } }

[builders.build]
workers = ["near"]
page = "packageName"
properties.packageName = { type = "app-id" }
steps = [
  { name = "noise", run = ["sh", "-c", "echo timed out; exit 1"], on-failure = "warn" },
  { name = "compile", run = ["sh", "-c", ". SCRIPT"] },
  { name = "after", run = ["true"], always = true },
]

[builders.away]
workers = ["far"]
steps = [{ name = "sleep", run = [
  "sh", "-c", "echo $$ >RUNNING.new; mv RUNNING.new RUNNING; exec sleep 3600",
] }]

[builders.alarm]
workers = ["near"]
steps = [{ run = ["true"] }]

[schedulers]
force = { on = "force", builders = ["build", "away"] }
checks = { on = "force", builders = ["build"] }
alarm = { on = { after-failure = "build" }, builders = ["alarm"] }

[reporters.mails]
builders = ["build", "away"]
mail = { from = "a@example.org", to = ["b@example.org"], relay = "127.0.0.1", port = MAIL_PORT }

[failures]
repeat = ["1s", "PAUSEs", "1s"]
infrastructure.network-away.pattern = 'timed out'
infrastructure.disk-full.pattern = 'No space left'
source.does-not-compile = { pattern = 'error: (?P<reason>.*)', steps = ["compile"] }
"""

# A worker waits for no less than ten seconds after a failure; and anybody may do anything.
EXTRA = """
del c["www"]["authz"]
from buildbot.plugins import schedulers, steps, util
from buildbot.worker.base import AbstractWorker
AbstractWorker.quarantine_timeout = AbstractWorker.quarantine_initial_timeout = 0.1
AbstractWorker.quarantine_max_timeout = 0.1
[checks] = [scheduler for scheduler in c["schedulers"] if scheduler.name == "checks"]
checks.asks_again = True

import errno
import os
from buildbot.interfaces import LatentWorkerFailedToSubstantiate
from buildbot.worker.latent import AbstractLatentWorker

class Broken(AbstractLatentWorker):
    def start_instance(self, build):
        raise LatentWorkerFailedToSubstantiate("no such machine")

    def stop_instance(self, fast=False):
        return None

class Full(steps.BuildStep):
    async def run(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

c["workers"].append(Broken("broken", "pass"))
for name, worker in (("start", "broken"), ("fill", "near")):
    factory = util.BuildFactory([Full(name="full")])
    c["builders"].append(util.BuilderConfig(name, workername=worker, factory=factory))
c["schedulers"].append(schedulers.ForceScheduler("more", builderNames=["start", "fill"]))
"""

# Seconds: longer than a master takes to start.
PAUSE = 8


class World:
    """A master of CONFIG, and what `compile` does."""

    def __init__(self, folder: Path, mails: Mails) -> None:
        self.folder, self.mails = folder, mails
        self.script, self.running = folder / "script", folder / "running"
        port, pb_port = free_ports(2)
        values = {
            "WWW_PORT": port,
            "PB_PORT": pb_port,
            "MAIL_PORT": mails.server_address[1],
            "SCRIPT": self.script,
            "RUNNING": self.running,
            "PAUSE": PAUSE,
        }
        text = CONFIG
        for name, value in values.items():
            text = text.replace(name, str(value))
        (folder / "fdroid-bb.toml").write_text(text)
        (folder / "extra.py").write_text(EXTRA)
        (folder / "data/metadata").mkdir(parents=True)
        masters = generate(folder / "fdroid-bb.toml", folder / "data", folder / "out")
        put_secrets(folder / "base/main", {"far": "pass"})
        path = masters / "main/master.cfg"
        self.master = Master(folder / "base/main", configfile=path, www_port=port)
        self.address = f"127.0.0.1:{pb_port}"

    def ask(self, scheduler: str = "force", app: str = "org.example.app") -> None:
        """Ask for a build of an app."""
        assert self.master.force(scheduler, "build", packageName=app).status == 200

    def builds(self, count: int) -> list[dict[str, Any]]:
        """All builds that are for apps or on the far worker, once so many are complete."""
        alarm = self.master.builderid("alarm")

        def complete() -> list[dict[str, Any]]:
            found = self.master.rest("builds?property=*&order=buildid")["builds"]
            found = [build for build in found if build["builderid"] != alarm]
            done = len(found) >= count and all(build["complete"] for build in found)
            return found if done else []

        return wait_for(f"{count} builds", complete)

    def alarms(self) -> int:
        """The number of builds that follow a failure."""
        builderid = self.master.builderid("alarm")
        path = f"buildrequests?builderid={builderid}"
        return len(self.master.rest(path)["buildrequests"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Mails() as mails:
        threading.Thread(target=mails.serve_forever, daemon=True).start()
        world = World(tmp_path, mails)
        with world.master:
            yield world
        mails.shutdown()


def blamed(build: dict[str, Any]) -> str | None:
    """Who is said to be to blame."""
    found: str | None = build["properties"].get("failure", [None])[0]
    return found


def test_a_failure_of_the_source_says_why(world: World) -> None:
    world.script.write_text(
        "echo A.java:1: note: x\nprintf 'A.java:3: \\033[31merror: no \\007symbol\\033[0m\\n'\n"
        "echo A.java:9: error: another\nfalse"
    )
    world.ask()
    [build] = world.builds(1)
    assert build["results"] == FAILURE
    assert build["state_string"] == "«compile» failed: does not compile: no ?symbol"
    assert blamed(build) == "source"
    path = f"builds/{build['buildid']}/steps"
    [step] = [s for s in world.master.rest(path)["steps"] if s["name"] == "compile"]
    logs = world.master.rest(f"steps/{step['stepid']}/logs")["logs"]
    assert [log["name"] for log in logs] == ["stdio", "summary"]
    summary = world.master.ask("GET", f"/api/v2/logs/{logs[1]['logid']}/raw_inline").text
    assert summary.startswith(f"{build['state_string']}\n\nThe end of the log:\n\nA.java:1: note")
    assert summary.endswith("A.java:9: error: another\n")
    [mail] = wait_for("a mail", lambda: world.mails.received)
    assert mail["Subject"] == "build org.example.app: failure in «compile»"
    assert f"{build['state_string']}." in mail.get_content().splitlines()
    wait_for("what follows a failure", lambda: world.alarms() == 1)
    assert "org.example.app" in page(world.master).split("Failing apps")[1].split("<h4>")[0]
    # Without a rule that matches: what was said last.
    world.script.write_text("echo The last words.\necho\nfalse")
    world.ask(app="org.example.other")
    assert world.builds(2)[1]["state_string"] == "«compile» failed: The last words."
    # What somebody stops is nobody's failure.
    world.script.write_text(f"echo connect timed out; touch {world.running}; sleep 3600")
    world.ask()
    wait_for("the step", world.running.exists)
    running = world.master.rest("builds?complete=false")["builds"][0]["buildid"]
    body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "no"}}'
    header = {"Content-Type": "application/json"}
    assert world.master.ask("POST", f"/api/v2/builds/{running}", body, header).status == 200
    build = world.builds(3)[2]
    assert build["results"] == CANCELLED
    assert blamed(build) is None


def test_a_failure_of_the_infrastructure_is_repeated_and_told_once(world: World) -> None:
    world.script.write_text("echo curl: connect timed out >&2; false")
    world.ask()
    builds = world.builds(2)
    assert [build["results"] for build in builds] == [RETRY, RETRY]
    # Neither the count nor the pause is lost.
    world.master.kill()
    world.master.start()
    builds = world.builds(4)
    assert [build["results"] for build in builds] == [RETRY, RETRY, RETRY, EXCEPTION]
    assert len({build["buildrequestid"] for build in builds}) == 1
    assert builds[2]["started_at"] - builds[1]["complete_at"] >= PAUSE
    assert {blamed(build) for build in builds} == {"infrastructure"}
    words = "infrastructure: network away, in «compile»: curl: connect timed out"
    assert builds[0]["state_string"] == f"{words}; repetition 1 of 3 in 1 s"
    assert builds[3]["state_string"] == f"{words}; 3 repetitions have failed too"
    [mail] = wait_for("a mail", lambda: world.mails.received)
    assert mail["Subject"] == f"build: {builds[3]['state_string']}"
    assert "The app is not to blame." in mail.get_content()
    # What follows a failure waits for the last.
    wait_for("what follows a failure", lambda: world.alarms() == 1)
    shown = page(world.master)
    assert "org.example.app" not in shown.split("Failing apps")[1]
    # The same cause, whatever the app; and a scheduler that asks again by itself.
    world.ask("checks", "org.example.other")
    build = world.builds(5)[4]
    assert build["results"] == EXCEPTION
    assert build["state_string"] == words
    # Over, once the step succeeds; then it is news again.
    world.script.write_text("true")
    world.ask()
    assert world.builds(6)[5]["results"] == WARNINGS
    assert len(world.mails.received) == 1
    world.script.write_text("echo curl: connect timed out >&2; false")
    world.ask("checks")
    world.builds(7)
    wait_for("another mail", lambda: len(world.mails.received) == 2)


def test_a_lost_worker_is_repeated_no_more_than_that(world: World) -> None:
    program = str(Path(sys.executable).with_name("buildbot-worker"))
    folder = str(world.folder / "far")
    create = [program, "create-worker", "--quiet", folder, world.address, "far", "pass"]
    subprocess.run(create, check=True)
    reaper.watch(world.folder / "far")

    assert world.master.force("force", "away").status == 200
    for number in range(1, 6):
        worker = subprocess.Popen([program, "start", "--nodaemon", folder])
        try:
            wait_for("the step", world.running.exists)
        finally:
            worker.kill()
            worker.wait()
        # What it ran outlives a worker that is killed.
        os.kill(int(world.running.read_text()), signal.SIGKILL)
        world.running.unlink()
        builds = world.builds(number)
        if number == 4:
            assert world.master.rest("buildrequests?complete=false")["buildrequests"] == []
            # Another one is taken up as ever.
            assert world.master.force("force", "away").status == 200
    assert [build["results"] for build in builds] == [RETRY, RETRY, RETRY, EXCEPTION, RETRY]
    words = "infrastructure: the worker was lost, in «sleep»"
    assert builds[3]["state_string"] == f"{words}; 3 repetitions have failed too"
    assert builds[4]["state_string"] == f"{words}; repetition 1 of 3 in 1 s"
    [mail] = wait_for("a mail", lambda: world.mails.received)
    assert mail["Subject"] == f"away: {builds[3]['state_string']}"


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ("start", "the worker did not start, in «worker_preparation»"),
        ("fill", "disk full, in «full»: builtins.OSError: [Errno 28] No space left on device"),
    ],
)
def test_what_buildbot_itself_stumbles_over_is_repeated_too(
    world: World, builder: str, words: str
) -> None:
    assert world.master.force("more", builder).status == 200
    builds = world.builds(4)
    assert [build["results"] for build in builds] == [RETRY, RETRY, RETRY, EXCEPTION]
    assert builds[3]["state_string"] == f"infrastructure: {words}; 3 repetitions have failed too"
    assert world.master.rest("buildrequests?complete=false")["buildrequests"] == []
