# SPDX-License-Identifier: GPL-2.0-or-later
"""CheckProperties: each type, and a real build that it lets through or refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors

from fdroid_bb import CheckProperties
from fdroid_bb.steps.check_properties import TYPES
from masters import PATIENCE, Master, wait_for

# The compiler's tests read them too.
CASES = json.loads((Path(__file__).parents[1] / "property_types.json").read_text())

# What only JSON and Python have.
OTHERS = [
    ("integer", 1.0),
    ("text", ["list"]),
    ("text", "\ud800"),
    ("word", None),
    ("branch", b"a"),
]


@pytest.mark.parametrize(("kind", "value"), CASES["good"])
def test_accepted(kind: str, value: str | int) -> None:
    checked = TYPES[kind].check(value)
    if kind in ("integer", "seconds"):
        assert checked == int(value)
        assert isinstance(checked, int)
    else:
        assert checked is value


@pytest.mark.parametrize(("kind", "value"), [*CASES["bad"], *OTHERS])
def test_refused(kind: str, value: object) -> None:
    assert TYPES[kind].check(value) is None


def test_a_type_that_does_not_exist_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigErrors, match=r"versionCode.*nonsense"):
        CheckProperties({"versionCode": "nonsense"})
    with pytest.raises(ConfigErrors, match="has no type"):
        CheckProperties({}, optional=["versionCode"])


CONFIG = """
c["workers"].append(worker.LocalWorker("local"))
c["builders"].append(util.BuilderConfig(
    name="checked",
    workernames=["local"],
    factory=util.BuildFactory([
        CheckProperties(
            {"packageName": "app-id", "versionCode": "integer", "uuid": "word"},
            optional=["uuid"],
        ),
        steps.SetProperty(property="seen", value=util.Interpolate(
            "%(prop:packageName)s %(prop:versionCode)s")),
    ]),
    collapseRequests=False,
))
c["schedulers"].append(schedulers.AnyBranchScheduler(
    name="submitted", builderNames=["checked"], treeStableTimer=None))
c["change_source"] = [changes.PBChangeSource(port="tcp:PB_PORT:interface=127.0.0.1",
    user="fdroid", passwd="demo")]
"""


def send(master: Master, project: str, revision: str = "", **properties: str) -> None:
    """What fdroidserver does: the real `buildbot sendchange`."""
    buildbot = str(Path(sys.executable).parent / "buildbot")
    subprocess.run(
        [
            buildbot,
            "sendchange",
            f"--master=127.0.0.1:{master.pb_port}",
            "--auth=fdroid:demo",
            "--who=x",
            f"--project={project}",
            "--branch=master",
            f"--revision={revision}",
            *(f"--property={name}:{value}" for name, value in properties.items()),
            "metadata/x.yml",
        ],
        check=True,
        timeout=PATIENCE,
        stdout=subprocess.DEVNULL,
    )


def test_a_real_build(tmp_path: Path) -> None:
    with Master(tmp_path / "master", CONFIG) as master:
        checked = master.rest("builders?name=checked")["builders"][0]["builderid"]
        hostile = "a;reboot\u202e" + "x" * 500
        send(master, "org.example.given", packageName="org.example.given", versionCode="0012")
        send(master, "org.example.project", versionCode="7")
        send(master, "nothing", "--upload-pack=reboot", versionCode=hostile, uuid="-x")

        def finished() -> Any:
            path = f"builders/{checked}/builds?complete=true&property=*&order=number"
            builds = master.rest(path)["builds"]
            return builds if len(builds) == 3 else None

        given, project, refused = wait_for("three builds", finished)
        assert given["results"] == project["results"] == 0
        assert given["properties"]["seen"][0] == "org.example.given 12"
        assert given["properties"]["versionCode"][0] == 12
        # From the source stamp: the sender named no package.
        assert project["properties"]["seen"][0] == "org.example.project 7"
        assert refused["results"] == 2
        assert "seen" not in refused["properties"]
        steps = master.rest(f"builds/{refused['buildid']}/steps")["steps"]
        step = next(step for step in steps if step["name"] == "check properties")
        logid = master.rest(f"steps/{step['stepid']}/logs")["logs"][0]["logid"]
        text = json.dumps(master.rest(f"logs/{logid}/contents"))
        assert "property `versionCode` is 'a;reboot" in text
        assert "it must be a whole number from 0 to 2^63-1" in text
        assert "property `uuid` is '-x': it must be a word of letters, digits" in text
        assert "the revision is '--upload-pack=reboot': git would take it for an option" in text
        assert "x" * 100 not in text
