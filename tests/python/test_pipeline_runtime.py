# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests, priorities, pages of apps, passwords in files, logs and mails, as a description makes
them, in a real master. What is sent is sent with the real `buildbot sendchange`.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fdroid_bb.queueing.submit import write_private
from fdroid_bb.queueing.unheard import Unheard
from fdroid_bb.web.app_page import source_of
from mails import Mails
from masters import PATIENCE, Master, free_ports, put_secrets, wait_for
from program import generate

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CYCLE = "8c3a3b0d0e9f4c51a7a7f14b6bd5b2c1"
SECRET = "shown to nobody"

CONFIG = r"""
[choices.way]
of = ["first", "second"]
chosen = "first"

[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "Queue"
url = "http://127.0.0.1:WWW_PORT/"
worker-listen = "127.0.0.1:PB_PORT"
submit = { listen = "127.0.0.1:SUBMIT_PORT", user = "fdroid", password-file = "PASSWORD_FILE" }

[masters.main.web]
listen = "127.0.0.1:WWW_PORT"
users.admin = { password = { secret = "admin" }, roles = ["admin"] }
allow = { force = ["admin"], stop = ["admin"], manage = ["admin"] }

[workers.one]
master = "main"
local = {}

[workers.two]
master = "main"
local = {}

[workers.unchosen]
when.way = "second"
master = "main"
local = {}

# Builds wait here until the gate is open.
[builders.build]
workers = ["one"]
page = "packageName"
properties.packageName = { type = "app-id" }
properties.versionCode = { type = "integer" }
properties.timeout = { type = "seconds", optional = true }
properties.buildCycleSize = { type = "integer", optional = true }
properties.buildCycleUuid = { type = "word", optional = true }

[[builders.build.steps]]
name = "gate"
run = ["sh", "-c", "while [ ! -e GATE ]; do sleep 0.05; done"]

[[builders.build.steps]]
name = "build"
run = [
    "python3", "-c", "import sys; print('built', sys.argv[1]); sys.exit('.bad' in sys.argv[1])",
    "{packageName}:{versionCode}",
]
timeout = { property = "timeout", default = "1min" }

[[builders.build.steps]]
save-log = { step = "build", to = "logs/{packageName}_{versionCode}.log" }

[builders.other-build]
when.way = "second"
workers = ["unchosen"]
properties.packageName = { type = "app-id" }
properties.versionCode = { type = "integer" }
properties.timeout = { type = "seconds", optional = true }
steps = [{ run = ["true"] }]

[builders.look]
workers = ["two"]
page = "packageName"
collapse = ["packageName"]
properties.packageName = { type = "app-id" }
properties.pause = { type = "integer", optional = true }

[[builders.look.steps]]
name = "look"
run = ["sleep", "0{pause}"]

[schedulers.news]
on = { submitted = "build" }
without-properties = ["buildCycleUuid"]
priority = 10
builders = ["other-build", "build"]

[schedulers.cycle]
on = { submitted = "build" }
with-properties = ["buildCycleUuid"]
without-properties = [{ property = "buildCycleSize", is = 1 }]
builders = ["build"]

[schedulers.single]
on = { submitted = "build" }
with-properties = [{ property = "buildCycleSize", is = 1 }]
priority = 10
builders = ["build"]

[schedulers.tags]
on = { submitted = "tag" }
quiet-time = "6s"
builders = ["look"]

[schedulers.at-once]
on = { submitted = "at-once" }
builders = ["look"]

[schedulers.button]
on = "force"
priority = 20
builders = ["build", "look"]

[reporters.mails]
builders = ["build"]

[reporters.mails.mail]
from = "buildbot@example.org"
to = ["people@example.org"]
relay = "127.0.0.1"
port = MAIL_PORT
"""


SENDER = """
import sys
from buildbot.clients.sendchange import Sender
from twisted.internet import defer, reactor
master, password, category, *apps = sys.argv[1:]
sender = Sender(master, ("fdroid", password))
def send(app):
    return sender.send("master", None, "", [f"metadata/{app}.yml"], who=app, category=category,
                       project=app, properties={"packageName": app})
done = defer.gatherResults([send(app) for app in apps], consumeErrors=True)
failed = []
done.addErrback(failed.append)
done.addBoth(lambda _: reactor.stop())
reactor.run()
sys.exit(str(failed) if failed else 0)
"""


class World:
    """A master of CONFIG."""

    def __init__(self, folder: Path, mail_port: int = 9) -> None:
        self.gate = folder / "gate"
        self.password = folder / "shared" / "passwd"
        www_port, pb_port, self.submit_port = free_ports(3)
        values = {
            "WWW_PORT": www_port,
            "PB_PORT": pb_port,
            "SUBMIT_PORT": self.submit_port,
            "MAIL_PORT": mail_port,
            "PASSWORD_FILE": self.password,
            "GATE": self.gate,
        }
        text = CONFIG
        for name, value in values.items():
            text = text.replace(name, str(value))
        config = folder / "fdroid-bb.toml"
        config.write_text(text)
        data = folder / "fdroiddata"
        (data / "metadata").mkdir(parents=True)
        masters = generate(config, data, folder / "out")
        basedir = folder / "master"
        put_secrets(basedir, {"admin": SECRET})
        path = masters / "main/master.cfg"
        self.master = Master(basedir, configfile=path, www_port=www_port)

    def send(
        self,
        app: str,
        category: str = "build",
        *,
        branch: str = "master",
        taken: bool = True,
        **properties: object,
    ) -> str:
        """As fdroidserver's senders do; what the sender is told."""
        password = self.password.read_text().strip()
        command = [
            str(Path(sys.executable).parent / "buildbot"),
            "sendchange",
            f"--master=127.0.0.1:{self.submit_port}",
            f"--auth=fdroid:{password}",
            f"--branch={branch}",
            "--repository='https://gitlab.com/fdroid/fdroiddata'",
            f"--revision={COMMIT}",
            f"--category={category}",
            f"--who={app}",
            f"--project={app}",
            f"--property=packageName:{app}",
            *(f"--property={name}:{value}" for name, value in properties.items()),
            f"metadata/{app}.yml",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == taken, said + self.master.log()[-2000:]
        return said

    def send_together(self, apps: Sequence[str], category: str) -> None:
        """A change for each, from one process: on a busy machine each takes seconds to start."""
        password = self.password.read_text().strip()
        arguments = [f"127.0.0.1:{self.submit_port}", password, category, *apps]
        command = [sys.executable, "-c", SENDER, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self, buildid: int) -> None:
        """End a build."""
        who = self.master.login("admin", SECRET)
        body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "enough"}}'
        headers = {"Content-Type": "application/json", **who}
        answer = self.master.ask("POST", f"/api/v2/builds/{buildid}", body, headers)
        assert answer.status == 200, answer

    def press(self, builder: str, **values: object) -> None:
        """Force a build."""
        who = self.master.login("admin", SECRET)
        answer = self.master.force("button", builder, who, **values)
        assert answer.status == 200, answer

    def waiting(self) -> int:
        """How many requests no build has taken."""
        found = self.master.rest("buildrequests?claimed=false&complete=false")["buildrequests"]
        return len(found)

    def builds(self, count: int, seconds: float = 60) -> list[dict[str, Any]]:
        """All builds in the order they started, once there are `count` and all are complete."""

        def complete() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.master.rest("builds?property=*&order=buildid")[
                "builds"
            ]
            done = len(found) >= count and all(build["complete"] for build in found)
            return found if done and not self.waiting() else []

        return wait_for(f"{count} builds", complete, seconds)

    def close(self) -> None:
        """Builds wait from now on."""
        self.gate.unlink(missing_ok=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.master:
        yield world


def what(build: dict[str, Any]) -> str:
    """App and version."""
    properties = build["properties"]
    return f"{properties['packageName'][0]}:{properties.get('versionCode', [''])[0]}"


def test_what_waits_is_kept_apart_and_in_order_and_survives_a_restart(world: World) -> None:
    # One build holds the only worker; all others wait, of the same app and commit.
    world.send("org.example.first", versionCode=1)
    wait_for("the first build", lambda: world.master.rest("builds")["builds"])
    for version in (1, 2, 3):
        size: dict[str, Any] = {"buildCycleSize": 3, "buildCycleUuid": CYCLE}
        world.send("org.example.cycle", versionCode=version, **size)
    for version in (4, 5, 6):
        world.send("org.example.news", versionCode=version)
    # As fdroidserver sends a single build: a cycle of one, which is none.
    one: dict[str, Any] = {"buildCycleSize": 1, "buildCycleUuid": CYCLE}
    world.send("org.example.news", versionCode=7, **one)
    for version in (8, 9, 10):
        world.press("build", packageName="org.example.person", versionCode=version)
    wait_for("the queue", lambda: world.waiting() == 10)
    world.master.kill()
    world.master.start()
    assert world.waiting() in (10, 11)
    world.gate.touch()
    # The first is done again, for the master was killed while it ran.
    builds = world.builds(12)
    assert builds[0]["results"] in (RETRY, EXCEPTION, CANCELLED)
    done = [what(build) for build in builds[1:]]
    assert all(build["results"] == SUCCESS for build in builds[1:])
    assert sorted(done) == sorted(
        ["org.example.first:1"]
        + [f"org.example.cycle:{n}" for n in (1, 2, 3)]
        + [f"org.example.news:{n}" for n in (4, 5, 6, 7)]
        + [f"org.example.person:{n}" for n in (8, 9, 10)]
    )
    done.remove("org.example.first:1")
    assert done == [
        *(f"org.example.person:{n}" for n in (8, 9, 10)),
        *(f"org.example.news:{n}" for n in (4, 5, 6, 7)),
        *(f"org.example.cycle:{n}" for n in (1, 2, 3)),
    ]
    # The properties are what it worked with, not only what it shows.
    for build in builds[1:]:
        assert f"built {what(build)}\n" in world.master.steps(build)["build"]["text"]


def test_many_tags_are_one_build(world: World) -> None:
    world.send_together(["org.example.tagged"] * 10 + ["org.example.other"], "tag")
    builds = world.builds(2)
    time.sleep(7)
    assert sorted(map(what, world.builds(2))) == ["org.example.other:", "org.example.tagged:"]
    assert all(build["results"] == SUCCESS for build in builds)


def test_tags_wait_also_over_a_restart(world: World) -> None:
    apps = {f"org.example.{app}:" for app in "abc"}
    world.send_together([app.removesuffix(":") for app in sorted(apps)], "tag")
    world.master.kill()
    world.master.start()

    def built() -> bool:
        builds = world.master.rest("builds?property=*")["builds"]
        return {what(build) for build in builds if build["results"] == SUCCESS} == apps

    wait_for("a good build of each", built)


def test_of_equal_requests_that_wait_one_is_built(world: World) -> None:
    world.press("look", packageName="org.example.busy", pause=86400)
    (busy,) = wait_for("the first build", lambda: world.master.rest("builds")["builds"])
    for _ in range(3):
        for app in ("a", "b"):
            world.send(f"org.example.{app}", "at-once")
    # What a person asked for keeps its place before what comes by itself.
    world.press("look", packageName="org.example.c")
    world.send("org.example.c", "at-once")
    wait_for("the queue", lambda: world.waiting() == 4)
    world.stop(busy["buildid"])
    found = [what(build) for build in world.builds(5)]
    assert found[:2] == ["org.example.busy:", "org.example.c:"]
    assert sorted(found[2:]) == ["org.example.a:", "org.example.b:", "org.example.c:"]


def test_each_app_has_a_page(world: World) -> None:
    world.gate.touch()
    world.send("org.example.paged", versionCode=1)
    world.send("org.example.paged", versionCode=2)
    world.press("look", packageName="org.example.paged")
    # No application id, and one that is a real builder's name.
    world.press("look", packageName="<script>alert(1)</script>")
    world.press("look", packageName="build")
    world.builds(5)
    pages = {page["name"]: page for page in world.master.rest("builders")["builders"]}
    assert "_virtual_" not in pages["look"]["tags"]
    page = pages["org.example.paged"]
    assert page["tags"] == ["_virtual_"]
    builds = world.master.rest(f"builders/{page['builderid']}/builds?property=*")["builds"]
    assert sorted(build["properties"]["buildername"][0] for build in builds) == [
        "build",
        "build",
        "look",
    ]
    assert page["description_html"] == (
        '<a href="https://gitlab.com/fdroid/fdroiddata/-/blob/master/metadata/'
        'org.example.paged.yml">metadata</a> · '
        '<a href="https://f-droid.org/packages/org.example.paged/">f-droid.org</a>'
    )
    assert "build (app)" in pages
    refused = pages["(no app)"]
    assert not any("script" in page["name"] for page in pages.values())
    [build] = world.master.rest(f"builders/{refused['builderid']}/builds")["builds"]
    assert build["results"] == FAILURE


def test_the_source_of_an_app_is_found_in_what_was_generated(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main/pollers.py").write_text(
        'POLLERS = [\n    git("a.b", "https://example.org/a", tags=""),\n'
        '    git("axb", "https://example.org/x"),\n    svn("c", "svn://example.org/c"),\n]\n'
    )
    assert source_of("a.b", tmp_path) == "https://example.org/a"
    assert source_of("axb", tmp_path) == "https://example.org/x"
    assert source_of("c", tmp_path) is None
    assert source_of("d", tmp_path) is None


def test_a_property_bounds_the_time(world: World) -> None:
    world.gate.touch()
    world.send("org.example.limited", versionCode=1, timeout=77)
    world.send("org.example.unlimited", versionCode=1)
    limits = {}
    for build in world.builds(2):
        text = world.master.steps(build)["build"]["text"]
        limits[what(build)] = next(
            line.split("maxTime ")[1] for line in text.splitlines() if "maxTime" in line
        )
    assert limits == {"org.example.limited:1": "77 secs)", "org.example.unlimited:1": "60 secs)"}


def test_the_log_of_a_step_is_kept(world: World) -> None:
    world.gate.touch()
    world.send("org.example.kept", versionCode=1)
    world.send("org.example.bad", versionCode=2)
    world.builds(2)
    logs = world.master.output / "logs"
    assert sorted(path.name for path in logs.iterdir()) == [
        "org.example.bad_2.log",
        "org.example.kept_1.log",
    ]
    assert "built org.example.kept:1\n" in (logs / "org.example.kept_1.log").read_text()
    assert "built org.example.bad:2\n" in (logs / "org.example.bad_2.log").read_text()


def test_the_port_is_for_this_machine_and_the_password_for_this_user(world: World) -> None:
    port = world.submit_port
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    # Any other address of this machine is one that others could reach.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    assert stat.S_IMODE(world.password.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(world.password.stat().st_mode) == 0o600
    first = world.password.read_text()
    world.master.stop()
    world.master.start()
    second = world.password.read_text()
    assert first != second
    assert len(second.strip()) >= 32
    told = [world.master.log()] + [
        world.master.ask("GET", f"/api/v2/{path}").text for path in ("changesources", "schedulers")
    ]
    assert not any(second.strip() in text for text in told)


def test_a_password_goes_only_where_nobody_else_was_first(tmp_path: Path) -> None:
    good = tmp_path / "good" / "passwd"
    write_private(str(good), "one")
    write_private(str(good), "two")
    assert good.read_text() == "two\n"
    # A link that waits for the password is replaced, not followed.
    trap = tmp_path / "trap"
    good.unlink()
    good.symlink_to(trap)
    write_private(str(good), "three")
    assert not trap.exists()
    assert not good.is_symlink()
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o700)
    open_folder.chmod(0o755)
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "good")
    (tmp_path / "file").touch()
    for folder in (open_folder, linked, tmp_path / "file"):
        with pytest.raises(PermissionError, match=r"delete it"):
            write_private(str(folder / "passwd"), "secret")
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 65534, 65534)
        with pytest.raises(PermissionError, match="belongs to another user"):
            write_private(str(foreign / "passwd"), "secret")
        assert not list(foreign.iterdir())


def test_a_change_that_no_scheduler_takes_is_logged_once(world: World) -> None:
    for _ in range(2):
        world.send("org.example.lost", category="bulid", versionCode=1)
    world.send("org.example.lost\n", category="\x1b[31mred", versionCode=1)
    log = world.master.log()
    assert log.count("no scheduler takes changes of category `bulid`") == 1
    assert "of category `?[31mred`" in log
    assert "of project `org.example.lost`" in log
    world.send("org.example.good", category="at-once", versionCode=1)
    assert "category `at-once`" not in world.master.log()


def test_a_change_beyond_all_measure_is_refused_before_it_is_stored(world: World) -> None:
    before = world.master.rest("changes?order=-changeid&limit=1")["changes"]
    many: dict[str, Any] = {f"property{number}": 1 for number in range(50)}
    said = world.send("org.example.many", taken=False, **many)
    assert "refused: it has 51 properties, and 50 are the most" in said
    said = world.send("org.example.long", taken=False, note="x" * 70_000)
    assert "and 65536 are the most" in said
    # GitLab serves what anybody asks to be merged from the same address.
    branch = "refs/merge-requests/7/head"
    said = world.send("org.example.merge", branch=branch, taken=False, versionCode=1)
    assert f"`{branch}` is no branch" in said
    # What a page makes a link of.
    script = SENDER.replace("project=app,", 'project=app, revlink="javascript:alert(1)",')
    address = f"127.0.0.1:{world.submit_port}"
    command = [sys.executable, "-c", script, address, world.password.read_text().strip()]
    command += ["build", "org.example.link"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1, done.stdout
    assert "`javascript:alert(1)` is not the address of a web page" in world.master.log()
    assert world.master.rest("changes?order=-changeid&limit=1")["changes"] == before


def test_what_is_logged_of_categories_is_bounded() -> None:
    unheard = Unheard()
    logged = [unheard.is_news(f"category{n}", n / 1000) for n in range(1000)]
    assert len([name for name in logged if name]) == 51
    assert logged[50] == "(others)"
    assert unheard.is_news("category1", 1800) is None
    assert unheard.is_news("category1", 3601) == "category1"


def test_one_cause_is_one_mail(tmp_path: Path) -> None:
    mails = Mails()
    threading.Thread(target=mails.serve_forever, daemon=True).start()
    world = World(tmp_path, mails.server_address[1])
    world.gate.touch()
    with world.master:
        for version in (1, 2, 3):
            world.send("org.example.bad", versionCode=version)
        world.send("org.example.good", versionCode=1)
        world.builds(4)
        wait_for("a mail", lambda: mails.received)
        world.master.stop()
        # What was told is not told again after a restart, but of another app it is.
        world.master.start()
        world.send("org.example.bad", versionCode=4)
        world.send("org.example.bad2", versionCode=1)
        world.builds(6)
        wait_for("another mail", lambda: len(mails.received) > 1)
        # When all fail, it is not the apps; a good one ends that.
        for number in (3, 4, 5, 6):
            world.send(f"org.example.bad{number}", versionCode=1)
            world.builds(4 + number)
        world.send("org.example.good", versionCode=2)
        world.builds(11)
        world.send("org.example.bad7", versionCode=1)
        world.builds(12)
        # What is refused is no part of a header.
        world.press("build", packageName="bad\nBcc: evil@example.org", versionCode=1)
        world.builds(13)
        wait_for("the last mail", lambda: len(mails.received) > 5)
        time.sleep(1)
    mails.shutdown()
    mails.server_close()
    subjects = [mail["Subject"] for mail in mails.received]
    assert subjects == [
        "build org.example.bad: failure in «build»",
        *(f"build org.example.bad{n}: failure in «build»" for n in (2, 3, 4, 7)),
        "build: failure in «check properties»",
    ]
    notes = ["app in a row" in mail.get_content() for mail in mails.received]
    assert notes == [False, False, False, True, False, False]
    assert not any("Bcc" in mail for mail in mails.received)
    mail = mails.received[0]
    assert mail["To"] == "people@example.org"
    text = mail.get_content()
    assert "built org.example.bad:1" in text
    assert f"http://127.0.0.1:{world.master.www_port}/#/builders/" in text


def test_what_is_not_chosen_is_not_there(world: World) -> None:
    names = {builder["name"] for builder in world.master.rest("builders")["builders"]}
    assert names == {"build", "look"}
    workers = {worker["name"] for worker in world.master.rest("workers")["workers"]}
    assert workers == {"one", "two"}
