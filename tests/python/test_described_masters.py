# SPDX-License-Identifier: GPL-2.0-or-later
"""What descriptions come to in real builds: of the example, and of one that uses every kind of
step, lock and trigger.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from masters import PATIENCE, ROOT, Master, wait_for
from program import generate, generated_master

PASSWORD = "correct horse battery staple"
TOKEN = "f00dTOKENf00d"

SUCCESS, WARNINGS, FAILURE, SKIPPED = range(4)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """The master of example/."""
    folder = tmp_path_factory.mktemp("example")
    masters = generate(ROOT / "example/fdroid-bb.toml", ROOT / "example/fdroiddata", folder / "out")
    secrets = {"web-demo": PASSWORD}
    with generated_master(masters, "example", folder / "example", secrets) as master:
        yield master


def last_build(master: Master, builder: str) -> dict[str, Any]:
    """The newest build, complete."""
    path = f"builders/{master.builderid(builder)}/builds?property=*&order=-number&limit=1"
    build: dict[str, Any] = master.rest(path)["builds"][0]
    assert build["complete"]
    return build


def forced(
    master: Master, scheduler: str, builder: str, who: Mapping[str, str], **values: Any
) -> dict[str, Any]:
    """The build that pressing the button makes."""
    before = len(master.rest(f"builders/{master.builderid(builder)}/builds")["builds"])
    answer = master.force(scheduler, builder, who, **values)
    assert answer.status == 200, answer
    return master.builds(builder, before + 1)[-1]


def test_a_forced_build_of_the_example(example: Master) -> None:
    who = example.login("demo", PASSWORD)
    build = forced(example, "force", "checkupdates", who, packageName="org.example.tags")
    assert build["results"] == SUCCESS
    steps = example.steps(build)
    [text] = [step["text"] for name, step in steps.items() if name.startswith("echo")]
    assert "a new version of org.example.tags?" in text


@pytest.mark.parametrize("value", ["--help", "a b; rm", "a;b", "--evil", "../etc", "a\u202eb"])
def test_a_hostile_property_is_refused_before_anything_runs(example: Master, value: str) -> None:
    who = example.login("demo", PASSWORD)
    build = forced(example, "force", "checkupdates", who, packageName=value)
    assert build["results"] == FAILURE
    check, *others = example.steps(build).values()
    if check["name"] == "worker_preparation":
        check, *others = others
    assert check["name"] == "check properties"
    assert check["results"] == FAILURE
    refusal = f"property `packageName` is {value!a}: it must be an application id"
    assert refusal in check["text"]
    assert all(step["results"] == SKIPPED or step["results"] is None for step in others)
    assert all(step["text"] == "" for step in others)


def test_a_missing_property_is_said_by_the_form(example: Master) -> None:
    who = example.login("demo", PASSWORD)
    answer = example.force("force", "checkupdates", who, packageName="")
    assert answer.status == 400, answer
    assert "packageName" in answer.text


def test_nobody_else_may_do_anything(example: Master) -> None:
    before = example.rest("buildsets")["buildsets"]
    assert example.force("force", "checkupdates", packageName="org.example.tags").status == 403
    for user, password in (("demo", "wrong"), ("demo", ""), ("nobody", PASSWORD), ("", PASSWORD)):
        with pytest.raises(PermissionError):
            example.login(user, password)
    made_up = {"Cookie": "TWISTED_SESSION=made-up"}
    assert example.force("force", "checkupdates", made_up, packageName="a.b").status == 403
    for path, method in (
        ("builds/1", "rebuild"),
        ("workers/1", "pause"),
        ("schedulers/1", "enable"),
        ("buildrequests/1", "cancel"),
        ("masters/1", "stop"),
    ):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"enabled": False}}
        headers = {"Content-Type": "application/json"}
        answer = example.ask("POST", f"/api/v2/{path}", json.dumps(body), headers)
        assert answer.status in (403, 404, 501), (path, answer)
        assert "error" in json.loads(answer.text), (path, answer)
    assert example.rest("buildsets")["buildsets"] == before
    assert not any(worker["paused"] for worker in example.rest("workers")["workers"])
    assert all(scheduler["enabled"] for scheduler in example.rest("schedulers")["schedulers"])


def test_the_password_is_nowhere(example: Master) -> None:
    who = example.login("demo", PASSWORD)
    told = [example.ask("GET", path, headers=who).text for path in ("/", "/config")]
    whats = ("builders", "schedulers", "workers", "forceschedulers", "changesources", "masters")
    told += [example.ask("GET", f"/api/v2/{what}", headers=who).text for what in whats]
    told += [example.log(), *(path.read_text() for path in example.basedir.glob("*.log"))]
    assert not any(PASSWORD in text for text in told)


def test_a_change_in_an_app_runs_the_builder_for_it(example: Master) -> None:
    names = {source["name"] for source in example.rest("changesources")["changesources"]}
    assert "org.example.tags" in names
    assert len(names) == 10


# --- One of everything --------------------------------------------------------------------------

EVERYTHING = r"""
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[masters.all]
title = "one of each"
url = "http://localhost:8010/"
submit = { user = "fdroid", password = { secret = "send" } }

[masters.all.web]
users.demo = { password = { secret = "web-demo" }, roles = ["people"] }
allow.force = ["people"]

[workers.local]
master = "all"
count = 4
local = {}

[locks.repo]
[locks.two]
max-holders = 2

[builders.everything]
workers = ["local"]
env.TOKEN = { secret = "token" }
env.PLAIN = "100 % {{plain}} $HOME"
properties.packageName = { type = "app-id" }
properties.note = { type = "text", optional = true }

[[builders.everything.steps]]
name = "download"
download = { from = "given/{packageName}.txt", to = "in/{packageName}.txt" }

[[builders.everything.steps]]
name = "arguments"
run = ["printf", "<%s>", "{packageName}", "{note}", "{{braces}}", "100 % $(id) `id`", ""]

[[builders.everything.steps]]
name = "run"
run = ["sh", "-c", "cat in/*.txt; printenv PLAIN OWN; printenv TOKEN | sha256sum; printenv TOKEN"]
env.OWN = "of the step"

[[builders.everything.steps]]
name = "in a folder"
run = ["sh", "-c", "pwd; printenv TOKEN | sha256sum"]
workdir = "elsewhere"

[[builders.everything.steps]]
run = ["sh", "-c", "mkdir -p out/deep; cp in/*.txt out/deep"]

[[builders.everything.steps]]
name = "upload a file"
upload = { from = "in/{packageName}.txt", to = "taken/file/{packageName}.txt" }
locks = { repo = "shared" }

[[builders.everything.steps]]
name = "upload a folder"
upload = { from = "out", to = "taken/folder", folder = true }
locks = { repo = "exclusive" }

[[builders.everything.steps]]
name = "on the master"
run-on-master = ["sh", "-c", "printenv PLAIN OWN; printenv TOKEN | sha256sum"]
env.OWN = "of the master's step"

[[builders.everything.steps]]
name = "the master's folder"
run-on-master = ["ls", "deep"]
workdir = "taken/folder"

[[builders.everything.steps]]
name = "warns"
run = ["false"]
on-failure = "warn"

[[builders.everything.steps]]
name = "after the warning"
run = ["echo", "still here"]

[builders.continues]
workers = ["local"]

[[builders.continues.steps]]
name = "fails"
run-on-master = ["false"]
on-failure = "continue"

[[builders.continues.steps]]
name = "next"
run = ["echo", "next ran"]

[builders.stops]
workers = ["local"]

[[builders.stops.steps]]
name = "fails"
run = ["false"]

[[builders.stops.steps]]
name = "next"
run = ["echo", "next ran"]

[[builders.stops.steps]]
name = "always"
run = ["echo", "always ran"]
always = true

[builders.slow]
workers = ["local"]
timeout = "1s"

[[builders.slow.steps]]
name = "too slow"
run = ["sleep", "86400"]

[builders.alone]
workers = ["local"]
locks = { repo = "exclusive" }

[[builders.alone.steps]]
name = "times"
run = ["sh", "-c", "date +%s%N; sleep 1; date +%s%N"]

[builders.together]
workers = ["local"]
locks = { two = "shared" }

# Ends once another build does the same at the same time.
[[builders.together.steps]]
name = "times"
run = ["sh", "-c", "date +%s%N; sh ../../../../meet; date +%s%N"]
timeout = "15min"

[builders.first]
workers = ["local"]
properties.packageName = { type = "app-id" }
properties.versionCode = { type = "integer" }
properties.timeout = { type = "seconds", optional = true }
properties.buildCycleUuid = { type = "word", optional = true }

[[builders.first.steps]]
name = "test"
run = ["test", "{versionCode}", "-ne", "13"]

[builders.second]
workers = ["local"]
properties.packageName = { type = "app-id" }
properties.versionCode = { type = "integer" }

[[builders.second.steps]]
name = "say"
run = ["echo", "then {packageName}:{versionCode}"]

[builders.told]
workers = ["local"]
properties.note = { type = "text" }
properties.number = { type = "integer" }

[[builders.told.steps]]
name = "say"
run = ["echo", "{note} {number}"]

[builders.nightly]
workers = ["local"]

[[builders.nightly.steps]]
run = ["true"]

[schedulers.submitted]
on = { submitted = "build" }
builders = ["first"]

[schedulers.then]
on = { after = "first" }
builders = ["second"]

[schedulers.often]
on = { every = "1h" }
builders = ["told"]
properties = { note = "it's {not} a \"template\" %(prop:x)s", number = 7 }

[schedulers.at-night]
on = { daily = "02:30" }
builders = ["nightly"]

[schedulers.force]
on = "force"
builders = ["everything", "first", "continues", "stops", "slow", "alone", "together"]
"""


# For two builds that must be at work at the same time.
MEET = """
cd ../../../..
touch met.$$
until test `ls | grep -c ^met` -ge 2; do sleep 0.1; done
sleep 0.2
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """The master of EVERYTHING."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "fdroid-bb.toml").write_text(EVERYTHING)
    masters = generate(folder / "fdroid-bb.toml", ROOT / "example/fdroiddata", folder / "out")
    secrets = {"web-demo": PASSWORD, "token": TOKEN, "send": "demo"}
    with generated_master(masters, "all", folder / "all", secrets) as master:
        (master.output / "given").mkdir()
        (master.output / "given/org.example.tags.txt").write_text("from the master\n")
        (master.basedir / "meet").write_text(MEET)
        yield master


@pytest.fixture
def demo(everything: Master) -> dict[str, str]:
    """Somebody who may force."""
    return everything.login("demo", PASSWORD)


def test_every_kind_of_step(everything: Master, demo: dict[str, str]) -> None:
    note = "a 'note' of $HOME; {packageName}"
    build = forced(
        everything, "force", "everything", demo, packageName="org.example.tags", note=note
    )
    steps = everything.steps(build)
    said = {name: step["text"] for name, step in steps.items()}
    assert build["results"] == WARNINGS, said
    expected = f"<org.example.tags><{note}><{{braces}}><100 % $(id) `id`><>"
    assert expected in said["arguments"]
    assert "from the master\n" in said["run"]
    digest = hashlib.sha256(f"{TOKEN}\n".encode()).hexdigest()
    for step in ("run", "in a folder", "on the master"):
        assert digest in said[step], said[step]
    for step, own in (("run", "of the step"), ("on the master", "of the master's step")):
        assert f"100 % {{plain}} $HOME\n{own}\n" in said[step], said[step]
    assert "/elsewhere\n" in said["in a folder"]
    taken = everything.output / "taken"
    assert (taken / "file/org.example.tags.txt").read_text() == "from the master\n"
    assert (taken / "folder/deep/org.example.tags.txt").read_text() == "from the master\n"
    assert "\norg.example.tags.txt\n" in said["the master's folder"]
    assert steps["warns"]["results"] == FAILURE
    assert "still here" in said["after the warning"]
    # Buildbot puts the secret's name for its value where a command of a worker prints it.
    assert "<token>" in said["run"]
    assert not any(TOKEN in text for text in said.values())
    assert TOKEN not in everything.log()
    assert TOKEN not in json.dumps(everything.rest(f"builds/{build['buildid']}?property=*"))


def test_what_a_failure_means(everything: Master, demo: dict[str, str]) -> None:
    build = forced(everything, "force", "continues", demo)
    steps = everything.steps(build)
    assert build["results"] == FAILURE
    assert steps["fails"]["results"] == FAILURE
    assert "next ran" in steps["next"]["text"]

    build = forced(everything, "force", "stops", demo)
    steps = everything.steps(build)
    assert build["results"] == FAILURE
    assert "next ran" not in steps.get("next", {"text": ""})["text"]
    assert "always ran" in steps["always"]["text"]

    build = forced(everything, "force", "slow", demo)
    assert build["results"] == FAILURE
    assert "command timed out" in everything.steps(build)["too slow"]["text"]


def test_locks(everything: Master, demo: dict[str, str]) -> None:
    for builder in ("alone", "together"):
        for _ in range(3):
            assert everything.force("force", builder, demo).status == 200

    def overlaps(builder: str) -> int:
        times = []
        for build in everything.builds(builder, 3):
            lines = everything.steps(build)["times"]["text"].splitlines()
            times.append([int(line) for line in lines if len(line) == 19 and line.isdigit()])
        return sum(
            max(a[0], b[0]) < min(a[1], b[1]) for i, a in enumerate(times) for b in times[:i]
        )

    assert overlaps("alone") == 0
    # Two at a time, the third after one of them: one pair at least, never all three at once.
    assert 1 <= overlaps("together") <= 2


def send(master: Master, package: str, version: int, repository: str) -> None:
    """What fdroidserver does, word for word."""
    buildbot = str(Path(sys.executable).parent / "buildbot")
    command = [
        buildbot,
        "sendchange",
        "--master=127.0.0.1:9999",
        "--auth=fdroid:demo",
        "--branch=master",
        f"--repository={repository}",
        "--revision=0123456789abcdef0123456789abcdef01234567",
        "--category=build",
        "--who=fdroid",
        f"--project={package}",
        f"--property=versionCode:{version}",
        f"--property=packageName:{package}",
        "--property=timeout:7200",
        "--property=buildCycleItem:0",
        "--property=buildCycleSize:2",
        "--property=buildCycleUuid:8c3a3b0d0e9f4c51a7a7f14b6bd5b2c1",
        f"metadata/{package}.yml",
    ]
    inside = master.inside(command)
    subprocess.run(inside, check=True, capture_output=True, timeout=PATIENCE)


def test_a_submitted_change_and_what_comes_after(everything: Master) -> None:
    plain = "https://gitlab.com/fdroid/fdroiddata"
    send(everything, "org.example.tags", 12, plain)
    # One of fdroidserver's two senders wraps the URL in quotes of its own.
    send(everything, "org.example.page", 14, f'"{plain}"')
    send(everything, "org.example.unlucky", 13, plain)
    first = {
        build["properties"]["packageName"][0]: build for build in everything.builds("first", 3)
    }
    results = {name: build["results"] for name, build in first.items()}
    assert results == {
        "org.example.tags": SUCCESS,
        "org.example.page": SUCCESS,
        "org.example.unlucky": FAILURE,
    }
    properties = first["org.example.page"]["properties"]
    assert properties["versionCode"][0] == 14
    assert properties["timeout"][0] == 7200
    assert properties["buildCycleUuid"][0] == "8c3a3b0d0e9f4c51a7a7f14b6bd5b2c1"

    # Nothing waits any more: no build after the unlucky one.
    def quiet() -> bool:
        return not everything.rest("buildrequests?complete=false")["buildrequests"]

    wait_for("the queue to be empty", quiet)
    builds = everything.builds("second", 2)
    told = [text for build in builds for text in everything.steps(build)["say"]["text"].split("\n")]
    assert "then org.example.tags:12" in told
    assert "then org.example.page:14" in told
    assert len(builds) == 2


def test_a_form_may_leave_empty_what_is_optional(everything: Master, demo: dict[str, str]) -> None:
    given = {"packageName": "org.example.tags", "versionCode": "13"}
    empty = {"timeout": "", "buildCycleUuid": ""}
    build = forced(everything, "force", "first", demo, **given, **empty)
    steps = everything.steps(build)
    assert steps["check properties"]["results"] == SUCCESS, steps["check properties"]["text"]
    assert steps["test"]["results"] == FAILURE  # it was 13, so nothing comes after
    # Another builder of the form needs no version, so the form does not ask for one; this one does.
    build = forced(everything, "force", "first", demo, packageName="org.example.tags")
    said = everything.steps(build)["check properties"]["text"]
    assert "property `versionCode` is '': it must be a whole number" in said, said


def test_times(everything: Master) -> None:
    build = everything.builds("told", 1)[0]
    assert build["results"] == SUCCESS
    expected = """it's {not} a "template" %(prop:x)s 7"""
    assert expected in everything.steps(build)["say"]["text"]
    schedulers = {s["name"] for s in everything.rest("schedulers")["schedulers"]}
    assert schedulers == {"submitted", "then", "often", "at-night", "force"}
    assert not re.search(r"Traceback|Unhandled", everything.log())
