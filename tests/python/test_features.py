# SPDX-License-Identifier: GPL-2.0-or-later
"""What a description can say, on a real master: steps that depend on what came before, forms,
checkouts, schedulers and locks.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from masters import ROOT, Master, free_ports, put_secrets, wait_for
from program import generate
from repositories import Repository, Server
from shipped import polled
from test_described_masters import FAILURE, PASSWORD, SKIPPED, SUCCESS, TOKEN, forced

FEATURES = r"""
[fdroiddata]
url = "SERVER/data.git"
branch = "main"
poll-interval = "1s"

[masters.features]
title = "features"
url = "http://localhost:WWW/"
worker-listen = "127.0.0.1:PB"
extra = "more.py"

[masters.features.web]
listen = "127.0.0.1:WWW"
users.demo = { password = { secret = "web-demo" }, roles = ["people"] }
allow.force = ["people"]

[workers.local]
master = "features"
count = 2
local = {}

# Steps set properties of their own, and run where these are as they should be.
[builders.sets]
workers = ["local"]
properties.given = { type = "text" }
properties.found = { type = "word" }
properties.count = { type = "integer", optional = true }

[[builders.sets.steps]]
name = "find"
run = ["printf", " \\n %s \\n\\n", "{given}"]
set-property = "found"

[[builders.sets.steps]]
name = "count"
run-on-master = ["printf", "12"]
set-property = "count"

[[builders.sets.steps]]
name = "say"
run = ["echo", "found {found}, {count}"]

[[builders.sets.steps]]
name = "for a"
run = ["echo", "it is a"]
only-if = { property = "found", is = "a" }

[[builders.sets.steps]]
name = "not for a"
run = ["echo", "it is not a"]
unless = { property = "found", is = "a" }

[[builders.sets.steps]]
name = "twelve"
run-on-master = ["echo", "it is twelve"]
only-if = { property = "count", is = 12 }
unless = { property = "given", is = "b" }

# The command is well the third time.
[builders.retries]
workers = ["local"]
properties.tries = { type = "integer" }
properties.where = { type = "word" }

[[builders.retries.steps]]
name = "on the worker"
run = ["sh", "-c", "echo x >> tries; test `wc -l < tries` -eq $0", "{tries}"]
retry = { times = 2, pause = "1s" }
only-if = { property = "where", is = "worker" }

[[builders.retries.steps]]
name = "on the master"
run-on-master = ["sh", "-c", "echo x >> tries; test `wc -l < tries` -eq $0", "{tries}"]
retry = { times = 2, pause = "1s" }
only-if = { property = "where", is = "master" }

# Three checkouts, one of which asks for a password.
[builders.checks-out]
workers = ["local"]
properties.name = { type = "word" }
properties.ref = { type = "branch", default = "main" }
env.OF = "{{}} {name}"

[[builders.checks-out.steps]]
name = "data"
git = { url = "SERVER/data.git", branch = "main" }

[[builders.checks-out.steps]]
name = "shallow"
git.url = "SERVER/{name}.git"
git.branch = "{ref}"
git.depth = 2
git.submodules = true
git.into = "libs/one"

[[builders.checks-out.steps]]
name = "private"
git.url = "SERVER/private.git"
git.branch = "main"
git.credentials = { secret = "git" }
git.into = "two"

[[builders.checks-out.steps]]
name = "count"
run = ["sh", "-c", "git rev-list --count HEAD; ls ..; ls sub; echo for $OF"]
workdir = "libs/one"

[[builders.checks-out.steps]]
name = "where"
run-on-master = ["pwd"]
workdir = "of/{name}"

# What forms ask for.
[builders.forms]
workers = ["local"]
properties.zeta = { type = "app-id", label = "Which app", help = "Its application id." }
properties.code = { type = "integer" }
properties.channel = { type = "word", choices = ["beta", "stable"], default = "stable" }
properties.alpha = { type = "text", optional = true }
properties.size = { type = "integer", optional = true, choices = [1, 2] }

[[builders.forms.steps]]
name = "say"
run = ["echo", "{zeta} {code} {channel} <{alpha}> <{size}>"]

[builders.other-forms]
workers = ["local"]
properties.code = { type = "integer" }
properties.more = { type = "integer", default = 7 }

[[builders.other-forms.steps]]
name = "say"
run = ["echo", "{code} {more}"]

# What comes after a failure, and what does not.
[builders.fails]
workers = ["local"]
properties.name = { type = "word" }

[[builders.fails.steps]]
name = "fails"
run = ["test", "{name}", "=", "well"]

[builders.tells]
workers = ["local"]
properties.name = { type = "word" }

[[builders.tells.steps]]
run = ["echo", "{name}"]

[builders.goes-on]
workers = ["local"]
steps = [{ run = ["true"] }]

[builders.sees-metadata]
workers = ["local"]
steps = [{ run = ["true"] }]

[builders.sees-next]
workers = ["local"]
steps = [{ run = ["true"] }]

[schedulers.metadata]
on = "fdroiddata"
files = ["metadata/*.yml"]
builders = ["sees-metadata"]

[schedulers.next]
on = "fdroiddata"
branches = ["next"]
builders = ["sees-next"]

[schedulers.on-weekends]
on = { weekly = { days = ["sat", "sun"], at = "03:30" } }
builders = ["goes-on"]

[schedulers.well]
on = { after = "fails" }
builders = ["goes-on"]

[schedulers.not-well]
on = { after-failure = "fails" }
builders = ["tells"]

# Of a lock with three shares, one build takes two: two of these never run at once.
[locks.shares]
max-holders = 3

[builders.heavy]
workers = ["local"]
locks = { shares = 2 }

[[builders.heavy.steps]]
name = "times"
run = ["sh", "-c", "date +%s%N; sleep 1; date +%s%N"]

# With one worker, those that wait are started by their priority.
[builders.queues]
workers = ["single"]
properties.which = { type = "word" }

[[builders.queues.steps]]
name = "which"
run-on-master = ["sh", "-c", "echo $0 >> order; until test -e go-$0; do sleep 0.1; done", "{which}"]
timeout = "15min"

[workers.single]
master = "features"
local = {}

[schedulers.soon]
on = "force"
priority = 10
builders = ["queues"]

[schedulers.later]
on = "force"
priority = -10
builders = ["queues"]

[schedulers.force]
on = "force"
builders = ["sets", "retries", "checks-out", "fails", "heavy"]

# A server is told of these.
[builders.told]
workers = ["local"]
properties.name = { type = "word" }
steps = [{ run = ["test", "{name}", "=", "well"] }]

[schedulers.tell]
on = "force"
builders = ["told"]

[reporters.hook]
builders = ["told"]
http = { url = "HOOK/builds/", headers = { X-Token = { secret = "hook" } } }

[schedulers.form]
on = "force"
builders = ["forms", "other-forms"]
"""


@pytest.fixture(scope="module")
def repositories(server: Server) -> dict[str, Repository]:
    """What the master checks out: a repository for all, one with a submodule, a private one."""
    data, private = server.repository("data.git"), server.repository("private.git")
    server.private["private.git"] = f"Basic {base64.b64encode(f'oauth2:{TOKEN}'.encode()).decode()}"
    library = server.repository("library.git")
    library.commit(count=4)
    module = server.repository("module.git")
    module.put("main", "in-the-module", "text")
    library.put("main", ".gitmodules", f'[submodule "sub"]\npath = sub\nurl = {module.url}\n')
    library.link("main", "sub", module.git("rev-parse", "main"))
    library.git("branch", "side/branch", "main")
    data.git("branch", "next", "main")
    return {"data": data, "library": library, "private": private}


EXTRA = """\
from buildbot.plugins import schedulers, steps, util

echo = util.ShellArg(["echo", "as we like it"], logname="said")
factory = util.BuildFactory([steps.ShellSequence([echo])])
c["builders"].append(util.BuilderConfig("ours", workernames=["local-1"], factory=factory))
c["schedulers"].append(schedulers.ForceScheduler(name="ours", builderNames=["ours"]))
"""


class Hook:
    """A server that takes reports. It answers with `statuses`, one after the other, then 200."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.paths: set[str] = set()
        self.statuses: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.paths.add(self.path)
                hook.tokens.add(self.headers["X-Token"])
                status = hook.statuses.pop(0) if hook.statuses else 200
                if status == 200:
                    hook.got.append(json.loads(body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    """What the master tells of builds."""
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture(scope="module")
def features(
    tmp_path_factory: pytest.TempPathFactory,
    server: Server,
    repositories: dict[str, Repository],
    hook: Hook,
) -> Iterator[Master]:
    """The master of FEATURES."""
    folder = tmp_path_factory.mktemp("features")
    www, pb = free_ports(2)
    text = FEATURES.replace("WWW", str(www)).replace("PB", str(pb))
    text = text.replace("SERVER", f"http://{server.address}:{server.port}")
    (folder / "fdroid-bb.toml").write_text(text.replace("HOOK", hook.url))
    (folder / "more.py").write_text(EXTRA)
    masters = generate(folder / "fdroid-bb.toml", ROOT / "example/fdroiddata", folder / "out")
    put_secrets(folder / "features", {"web-demo": PASSWORD, "git": TOKEN, "hook": "t0ken"})
    config = masters / "features/master.cfg"
    with Master(folder / "features", configfile=config, www_port=www) as master:
        yield master


@pytest.fixture
def demo(features: Master) -> dict[str, str]:
    """Somebody who may force."""
    return features.login("demo", PASSWORD)


def test_code_of_the_site(features: Master, demo: dict[str, str]) -> None:
    build = forced(features, "ours", "ours", demo)
    assert build["results"] == SUCCESS
    assert "as we like it" in "".join(step["text"] for step in features.steps(build).values())


def test_output_becomes_a_property(features: Master, demo: dict[str, str]) -> None:
    build = forced(features, "force", "sets", demo, given="a")
    assert build["results"] == SUCCESS
    steps = features.steps(build)
    assert "found a, 12" in steps["say"]["text"]
    assert build["properties"]["found"] == ["a", "find"]
    assert build["properties"]["count"] == [12, "count"]
    assert steps["for a"]["results"] == SUCCESS
    assert steps["not for a"]["results"] == SKIPPED
    assert steps["not for a"]["text"] == ""
    assert not steps["not for a"]["hidden"]
    assert steps["twelve"]["results"] == SUCCESS
    steps = features.steps(forced(features, "force", "sets", demo, given="b"))
    assert steps["for a"]["results"] == SKIPPED
    assert "it is not a" in steps["not for a"]["text"]
    assert steps["twelve"]["results"] == SKIPPED


@pytest.mark.parametrize("given", ["two words", "../x", "$(id)", "x" * 200])
def test_output_of_another_type_is_refused(
    features: Master, demo: dict[str, str], given: str
) -> None:
    build = forced(features, "force", "sets", demo, given=given)
    steps = features.steps(build)
    assert build["results"] == FAILURE
    assert steps["find"]["results"] == FAILURE
    assert "the property `found` must be a word" in steps["find"]["text"]
    assert "found" not in build["properties"]


@pytest.mark.parametrize("where", ["worker", "master"])
def test_a_command_is_run_again(features: Master, demo: dict[str, str], where: str) -> None:
    build = forced(features, "force", "retries", demo, tries="3", where=where)
    step = features.steps(build)[f"on the {where}"]
    assert step["results"] == SUCCESS, step["text"]
    said = [line for line in step["text"].splitlines() if "attempt" in line]
    assert [line.partition("failed; ")[2] for line in said] == [
        "attempt 2 of 3 follows in 1 s",
        "attempt 3 of 3 follows in 2 s",
    ]
    build = forced(features, "force", "retries", demo, tries="99", where=where)
    step = features.steps(build)[f"on the {where}"]
    assert build["results"] == FAILURE
    assert step["text"].count("attempt") == 2


def test_checkouts(
    features: Master, demo: dict[str, str], repositories: dict[str, Repository]
) -> None:
    (features.output / "of/library").mkdir(parents=True)
    # The first build clones, the second fetches.
    for ref in ("main", "side/branch"):
        build = forced(features, "force", "checks-out", demo, name="library", ref=ref)
        steps = features.steps(build)
        said = {name: step["text"] for name, step in steps.items()}
        assert build["results"] == SUCCESS, said
        count = said["count"].splitlines()
        assert "2" in count
        assert {"one", "in-the-module"} <= set(count)
        assert "for {} library" in count
        # Which revision was built is what the first checkout says.
        assert build["properties"]["got_revision"][0] == repositories["data"].git(
            "rev-parse", "main"
        )
        assert "/of/library\n" in said["where"]
        assert not any(TOKEN in text for text in said.values())
        assert "--depth 2" in said["shallow"].replace("'", "").replace(",", "")
        repositories["library"].commit("main")
        repositories["private"].commit("main")
    kept = [path for path in features.basedir.rglob("*") if path.is_file()]
    holding = [path for path in kept if TOKEN.encode() in path.read_bytes()]
    assert holding == [features.basedir / "secrets/git"]


def test_a_checkout_of_what_was_not_checked(features: Master, demo: dict[str, str]) -> None:
    for name, ref in (
        ("..", "main"),
        ("a/b", "main"),
        ("library", "--upload-pack=x"),
        ("library", "a..b"),
    ):
        build = forced(features, "force", "checks-out", demo, name=name, ref=ref)
        assert build["results"] == FAILURE
        assert features.steps(build)["check properties"]["results"] == FAILURE


def fields(master: Master, scheduler: str) -> list[dict[str, Any]]:
    """What a form asks for, in its order."""
    [form] = master.rest(f"forceschedulers/{scheduler}")["forceschedulers"]
    return [field for field in form["all_fields"] if field["type"] != "nested"]


def test_forms(features: Master, demo: dict[str, str]) -> None:
    found = fields(features, "form")
    assert [field["name"] for field in found] == [
        "zeta",
        "code",
        "channel",
        "alpha",
        "size",
        "more",
    ]
    by_name = {field["name"]: field for field in found}
    assert by_name["zeta"]["label"] == "Which app"
    assert by_name["zeta"]["tooltip"] == "Its application id."
    assert by_name["code"]["type"] == "int"
    assert by_name["code"]["default"] == ""
    assert by_name["code"]["required"]
    assert by_name["channel"]["choices"] == ["beta", "stable"]
    assert by_name["channel"]["default"] == "stable"
    assert by_name["size"]["choices"] == ["", "1", "2"]
    assert not by_name["size"]["required"]
    assert by_name["more"]["default"] == "7"

    answer = features.force("form", "forms", demo, zeta="org.example.a", code="")
    assert answer.status == 400
    assert "code" in answer.text
    answer = features.force("form", "forms", demo, zeta="org.example.a", code="3", channel="x")
    assert answer.status == 400
    build = forced(features, "form", "forms", demo, zeta="org.example.a", code="3")
    assert "org.example.a 3 stable <> <>" in features.steps(build)["say"]["text"]
    build = forced(
        features, "form", "forms", demo, zeta="org.example.a", code="3", channel="beta", size="2"
    )
    assert "org.example.a 3 beta <> <2>" in features.steps(build)["say"]["text"]
    build = forced(features, "form", "other-forms", demo, code="4")
    assert "4 7" in features.steps(build)["say"]["text"]


def test_after_a_failure(features: Master, demo: dict[str, str]) -> None:
    assert forced(features, "force", "fails", demo, name="well")["results"] == SUCCESS
    assert len(features.builds("goes-on", 1)) == 1
    assert forced(features, "force", "fails", demo, name="ill")["results"] == FAILURE
    [told] = features.builds("tells", 1)
    assert told["properties"]["name"][0] == "ill"
    assert len(features.builds("goes-on", 1)) == 1


def test_changes_of_some_files_and_branches(
    features: Master, repositories: dict[str, Repository]
) -> None:
    data = repositories["data"]
    state = features.basedir / "state.sqlite"
    wait_for("the first poll", lambda: "lastRev" in polled(state, "fdroiddata-poller"))
    data.put("main", "README.md", "nothing for a build")
    data.put("main", "metadata/org.example.a/en.txt", "nor this")
    data.put("main", "metadata/org.example.a.yml", "but this")
    [build] = features.builds("sees-metadata", 1)
    changes = features.rest("changes?order=changeid")["changes"]
    assert {tuple(change["files"]) for change in changes} >= {("README.md",)}
    data.put("next", "README.md", "of another branch")
    [build] = features.builds("sees-next", 1)
    assert build["properties"]["branch"][0] == "next"
    assert len(features.builds("sees-metadata", 1)) == 1


def test_shares_of_a_lock(features: Master, demo: dict[str, str]) -> None:
    for _ in range(2):
        assert features.force("force", "heavy", demo).status == 200
    times = []
    for build in features.builds("heavy", 2):
        text = features.steps(build)["times"]["text"]
        times.append([int(found) for found in re.findall(r"^\d{19}$", text, re.M)])
    (a, b), (c, d) = times
    assert b < c or d < a


def test_priorities(features: Master, demo: dict[str, str]) -> None:
    order = features.output / "order"

    def started(count: int) -> list[str]:
        lines = order.read_text().splitlines() if order.exists() else []
        return lines if len(lines) >= count else []

    assert features.force("later", "queues", demo, which="first").status == 200
    wait_for("the first build", lambda: started(1))
    for scheduler, which in (("later", "second"), ("soon", "third"), ("soon", "fourth")):
        assert features.force(scheduler, "queues", demo, which=which).status == 200
    for which in ("first", "second", "third", "fourth"):
        (features.output / f"go-{which}").touch()
    assert wait_for("all builds", lambda: started(4)) == ["first", "third", "fourth", "second"]


def test_a_server_is_told_of_builds(features: Master, demo: dict[str, str], hook: Hook) -> None:
    # It is busy for a moment, and redirects: then a report is sent again, or nowhere.
    hook.statuses += [503, 200, 302]
    forced(features, "tell", "told", demo, name="well")
    wait_for("the refusal of a report", lambda: "a report is lost: status 302" in features.log())
    build = forced(features, "tell", "told", demo, name="ill")
    started, *others = wait_for("the reports", lambda: hook.got if len(hook.got) >= 3 else [])
    assert (started["builder"], started["number"], started["result"]) == ("told", 1, None)
    assert [(it["number"], it["result"]) for it in others] == [(2, None), (2, "failure")]
    assert others[1]["properties"]["name"] == "ill"
    assert others[1]["url"].endswith(f"/builders/{build['builderid']}/builds/2")
    assert others[1]["ended"]
    assert hook.tokens == {"t0ken"}
    assert hook.paths == {"/builds/"}
