# SPDX-License-Identifier: GPL-2.0-or-later
"""What a description can say, on a real master: steps that depend on what came before, forms,
checkouts, schedulers and locks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masters import ROOT, Master
from program import generate, generated_master
from test_described_masters import FAILURE, PASSWORD, SKIPPED, SUCCESS, forced

FEATURES = r"""
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[masters.features]
title = "features"
url = "http://localhost:8010/"

[masters.features.web]
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

[schedulers.force]
on = "person"
builders = ["sets", "retries"]
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """The master of FEATURES."""
    folder = tmp_path_factory.mktemp("features")
    (folder / "fdroid-bb.toml").write_text(FEATURES)
    masters = generate(folder / "fdroid-bb.toml", ROOT / "example/fdroiddata", folder / "out")
    secrets = {"web-demo": PASSWORD}
    with generated_master(masters, "features", folder / "features", secrets) as master:
        yield master


@pytest.fixture
def demo(features: Master) -> dict[str, str]:
    """Somebody who may force."""
    return features.login("demo", PASSWORD)


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
