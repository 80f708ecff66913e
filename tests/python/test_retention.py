# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds, logs and changes that are old go; what is not, or belongs to what is not, stays."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from masters import Master, free_ports, wait_for

DAY = 86_400

CONFIG = """
from fdroid_bb.master import retention
retention.FIRST = 1.0
retention.EVERY = 1.0
c["workers"].append(worker.LocalWorker("local"))
def builder(name):
    return util.BuilderConfig(name=name, workernames=["local"], collapseRequests=False,
        factory=util.BuildFactory([
            steps.ShellCommand(name="say", command=["echo", "said"]),
            steps.SetProperty(property="made", value="so")]))
c["builders"] += [builder("short"), builder("long")]
c["schedulers"] += [
    schedulers.AnyBranchScheduler(name="s", builderNames=["short"], treeStableTimer=None,
                                  change_filter=util.ChangeFilter(category="short")),
    schedulers.AnyBranchScheduler(name="l", builderNames=["long"], treeStableTimer=None,
                                  change_filter=util.ChangeFilter(category="long"))]
c["change_source"] = [SubmitSource(port="tcp:SUBMIT:interface=127.0.0.1", user="u", passwd="p")]
KEEP
"""

KEEP = (
    'c["services"].append(Retention(logs=10 * 86400, builds=100 * 86400, builders={"long": 8e8}))'
)

# What holds something of a build or a change, with the column that says of which.
TABLES = {
    "buildsets": "id",
    "buildset_properties": "buildsetid",
    "buildset_sourcestamps": "buildsetid",
    "buildrequests": "buildsetid",
}


class World:
    def __init__(self, folder: Path, port: int) -> None:
        self.config = CONFIG.replace("SUBMIT", str(port))
        self.port = port
        self.master = Master(folder / "master", self.config.replace("KEEP", ""))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.master.basedir / "state.sqlite", timeout=60)) as database:
            found = database.execute(query).fetchall()
            database.commit()
        return found

    def count(self, table: str) -> int:
        return int(self.rows(f"select count(*) from {table}")[0][0])  # noqa: S608  # of this file


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (port,) = free_ports(1)
    world = World(tmp_path, port)
    with world.master:
        yield world


def send(world: World, revision: str, category: str) -> None:
    buildbot = str(Path(sys.executable).parent / "buildbot")
    command = [buildbot, "sendchange", f"--master=127.0.0.1:{world.port}", "--auth=u:p"]
    command += ["--who=a", "--branch=master", f"--revision={revision}", f"--category={category}"]
    subprocess.run([*command, "--property=a:b", "file"], check=True, capture_output=True)


def test_what_is_old_goes_and_nothing_else(world: World) -> None:
    ages = [("short", 300), ("short", 50), ("short", 0), ("long", 300), ("short", 400)]
    for number, (category, _) in enumerate(ages):
        send(world, f"abcdef{number}", category)
    finished = "select id from buildsets where complete = 1"
    wait_for("the builds", lambda: len(world.rows(finished)) == len(ages))
    assert world.count("steps") == 3 * len(ages)
    with closing(sqlite3.connect(world.master.basedir / "state.sqlite", timeout=60)) as database:
        for number, (_, age) in enumerate(ages, 1):
            past = age * DAY
            database.execute(
                "update buildsets set submitted_at = submitted_at - ?, "
                "complete_at = complete_at - ? where id = ?",
                (past, past, number),
            )
            # A change and what was built of it may be one or many: here one of one.
            database.execute(
                "update changes set when_timestamp = when_timestamp - ? where changeid = ?",
                (past, number),
            )
            database.execute(
                "update sourcestamps set created_at = created_at - ? where id = ?", (past, number)
            )
        # One that has not ended, however old it is.
        database.execute("update buildsets set complete = 0 where id = 5")
        database.commit()

    world.master.reconfig(world.config.replace("KEEP", KEEP))
    wait_for("the old one to go", lambda: "retention: deleted 1 builds" in world.master.log())
    assert world.rows("select id from buildsets order by id") == [(2,), (3,), (4,), (5,)]
    for table, column in TABLES.items():
        found = world.rows(f"select distinct {column} from {table} order by 1")  # noqa: S608
        assert found == [(2,), (3,), (4,), (5,)], table
    left = world.rows(
        "select buildsetid from buildrequests r join builds b on b.buildrequestid = r.id"
    )
    assert sorted(left) == [(2,), (3,), (4,), (5,)]
    for table, count in (("steps", 12), ("build_properties", None), ("logs", 4)):
        assert count is None or world.count(table) == count, table
    orphans = {
        "steps": "buildid not in (select id from builds)",
        "logs": "stepid not in (select id from steps)",
        "logchunks": "logid not in (select id from logs)",
        "build_properties": "buildid not in (select id from builds)",
        "change_files": "changeid not in (select changeid from changes)",
        "change_properties": "changeid not in (select changeid from changes)",
        "changes": "sourcestampid not in (select id from sourcestamps)",
        "buildset_sourcestamps": "sourcestampid not in (select id from sourcestamps)",
    }
    for table, orphan in orphans.items():
        assert world.rows(f"select * from {table} where {orphan}") == [], table  # noqa: S608
    # The text of logs goes first. The one of today has its own; so has what has not ended.
    texts = world.rows(
        "select r.buildsetid, l.type from logs l join steps s on l.stepid = s.id "
        "join builds b on s.buildid = b.id join buildrequests r on b.buildrequestid = r.id "
        "order by 1"
    )
    assert texts == [(2, "d"), (3, "s"), (4, "d"), (5, "s")]
    # Changes have the age of their own, whatever was built of them.
    assert world.rows("select changeid from changes order by 1") == [(2,), (3,)]
    # What a build or a change has is kept.
    assert world.rows("select id from sourcestamps order by 1") == [(2,), (3,), (4,), (5,)]
    # The pages live with it.
    builds = world.master.builds("short", 3)
    assert [build["properties"]["made"][0] for build in builds] == ["so"] * 3
    assert "Unhandled" not in world.master.log()
    assert "Traceback" not in world.master.log()
