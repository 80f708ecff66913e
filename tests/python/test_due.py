# SPDX-License-Identifier: GPL-2.0-or-later
"""Apps stay due until a check has succeeded: days on a simulated clock, and a crash in between."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from buildbot.data import resultspec
from buildbot.plugins import util, worker
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, SUCCESS
from twisted.internet import defer

from fdroid_bb import AppGitPoller, AppSourceScheduler, Output
from fdroid_bb.polling import refs, repository
from fdroid_bb.queueing import due
from masters import Master, wait_for
from repositories import Server
from simulated import Simulated

HOUR, DAY, WEEK = 3600, 24 * 3600, 7 * 24 * 3600
START = 1_800_000_000


async def _nothing_new(*_: object) -> refs.Answer:
    """What each poll finds."""
    return refs.Answer({"HEAD": "1" * 40})


class OnARealMaster(Simulated):
    """Nothing is built: the test says how each check ends."""

    checks_per_day = 5

    async def begin(self, apps: dict[str, dict[str, Any]]) -> Any:
        """A master with these apps, on the database of the one before."""
        if not hasattr(self, "url"):
            self.url = self.database()
            self.output = Path(self.mktemp())
            self.patch(repository, "ls_remote", _nothing_new)
            self.reactor.rightNow = START
        config = {
            "db_url": self.url,
            "workers": [worker.Worker("none", "pass")],
            "builders": [util.BuilderConfig("b", workername="none", factory=util.BuildFactory())],
            "collapseRequests": False,
            "schedulers": [
                AppSourceScheduler(
                    name="sources",
                    builderNames=["b"],
                    change_filter=util.ChangeFilter(category="app-source"),
                    checksPerDay=self.checks_per_day,
                )
            ],
            "change_source": [
                AppGitPoller(name, f"https://127.0.0.1:9/{name}.git", pollInterval=WEEK, **more)
                for name, more in apps.items()
            ],
            "services": [Output(str(self.output))],
            "protocols": {"null": {}},
            "multiMaster": True,
        }
        return await self.start(config)

    async def release(self, app: str) -> None:
        """The poller of an app has news."""
        await self.master.data.updates.addChange(
            author="x",
            files=[],
            comments="",
            category="app-source",
            project=app,
            repository="https://127.0.0.1:9/x.git",
            revision="1" * 40,
            properties={"packageName": app},
        )
        await self.settle()

    async def waiting(self) -> list[dict[str, Any]]:
        """The checks that nobody has done."""
        unfinished = resultspec.Filter("complete", "eq", [False])
        found = await self.master.data.get(("buildrequests",), filters=[unfinished])
        return list(found)

    async def app_of(self, request: dict[str, Any]) -> str:
        """Whom a request is for."""
        buildset = await self.master.data.get(("buildsets", request["buildsetid"]))
        return str(buildset["sourcestamps"][0]["project"])

    async def end(self, results: int) -> list[str]:
        """End all that wait; whose they were."""
        apps = []
        for request in await self.waiting():
            apps.append(await self.app_of(request))
            path = ("buildsets", request["buildsetid"], "properties")
            found = await self.master.data.get(path)
            assert found["packageName"][0] == apps[-1]
            number = request["buildrequestid"]
            await self.master.data.updates.claimBuildRequests([number])
            await self.master.data.updates.completeBuildRequests([number], results)
        await self.settle()
        return apps

    async def settle(self) -> None:
        """Also wait for the database's threads."""
        for _ in range(20):
            await super().settle()
            if not self.busy():
                return

    def busy(self) -> bool:
        """Whether the scheduler still writes."""
        [found] = [s for s in self.master.scheduler_manager if s.name == "sources"]
        return bool(found._turn.locked)

    @defer.inlineCallbacks
    def test_a_release_is_found_after_an_outage(self) -> Any:
        yield defer.ensureDeferred(self.outage(restart=False))

    @defer.inlineCallbacks
    def test_also_when_the_master_is_restarted_meanwhile(self) -> Any:
        yield defer.ensureDeferred(self.outage(restart=True))

    async def outage(self, *, restart: bool) -> None:
        """The first three checks fail, each in another way."""
        tested = await self.begin({"a.b": {}})
        await self.pass_time(10 * due.TICK)
        await self.release("a.b")
        began = self.reactor.seconds()
        for results in (FAILURE, EXCEPTION, CANCELLED):
            assert await self.until_asked() == ["a.b"], results
            await self.end(results)
            if restart:
                await tested.shutdown()
                self.reactor.advance(HOUR)
                tested = await self.begin({"a.b": {}})
        assert await self.until_asked() == ["a.b"]
        await self.end(SUCCESS)
        assert self.reactor.seconds() - began < DAY
        # And that was all.
        await self.pass_time(DAY, DAY / 24)
        assert await self.waiting() == []
        await tested.shutdown()

    @defer.inlineCallbacks
    def test_a_check_whose_end_a_crash_cut_in_two_has_ended(self) -> Any:
        yield defer.ensureDeferred(self.half_an_end())

    async def half_an_end(self) -> None:
        """The master is killed between the end of the request and that of its buildset."""
        tested = await self.begin({"a.b": {}})
        await self.release("a.b")
        assert await self.until_asked() == ["a.b"]
        [request] = await self.waiting()
        await self.master.data.updates.claimBuildRequests([request["buildrequestid"]])
        await self.master.db.buildrequests.completeBuildRequests(
            [request["buildrequestid"]], FAILURE
        )
        await tested.shutdown()
        self.reactor.advance(HOUR)
        tested = await self.begin({"a.b": {}})
        buildset = await self.master.data.get(("buildsets", request["buildsetid"]))
        assert (buildset["complete"], buildset["results"]) == (True, FAILURE)
        # The failure counts, so that it is checked again.
        assert await self.until_asked() == ["a.b"]
        await tested.shutdown()

    @defer.inlineCallbacks
    def test_a_change_that_nobody_was_told_of_is_found_by_the_next_start(self) -> Any:
        yield defer.ensureDeferred(self.untold())

    async def untold(self) -> None:
        """The master is killed, or a scheduler changed, before anybody hears of a change."""
        tested = await self.begin({"a.b": {}})
        await self.store("a.b")
        await self.settle()
        assert await self.waiting() == []
        await tested.shutdown()
        tested = await self.begin({"a.b": {}})
        assert await self.end(SUCCESS) == ["a.b"]
        await tested.shutdown()
        tested = await self.begin({"a.b": {}})
        assert await self.waiting() == []
        # The same in a running master.
        await self.store("a.b")
        [scheduler] = [s for s in self.master.scheduler_manager if s.name == "sources"]
        await scheduler.reconfigService(**{**scheduler._config_kwargs, "checksPerDay": 4})
        await self.settle()
        assert await self.end(SUCCESS) == ["a.b"]
        # One that is switched off is to miss what comes, and does not catch up later.
        await self.master.data.updates.schedulerEnable(scheduler.serviceid, False)
        await self.settle()
        await self.release("a.b")
        await self.master.data.updates.schedulerEnable(scheduler.serviceid, True)
        await self.settle()
        assert await self.waiting() == []
        await self.release("a.b")
        assert await self.end(SUCCESS) == ["a.b"]
        await tested.shutdown()

    async def store(self, app: str) -> None:
        """What a master does of a change before it tells anybody."""
        await self.master.db.changes.addChange(
            author="x",
            comments="",
            files=[],
            category="app-source",
            project=app,
            repository="https://127.0.0.1:9/x.git",
            revision="2" * 40,
            properties={"packageName": (app, "Change")},
        )

    async def until_asked(self) -> list[str]:
        """Let time pass until a check waits."""
        for _ in range(2 * DAY // due.TICK):
            if waiting := await self.waiting():
                sets = [await self.master.data.get(("buildsets", r["buildsetid"])) for r in waiting]
                return [s["sourcestamps"][0]["project"] for s in sets]
            await self.pass_time(due.TICK)
        return []

    @defer.inlineCallbacks
    def test_what_never_succeeds_is_told_and_not_tried_too_often(self) -> Any:
        yield defer.ensureDeferred(self.never())

    async def never(self) -> None:
        """At most three times a day, as it was told."""
        self.checks_per_day = 3
        tested = await self.begin({"a.b": {}})
        await self.release("a.b")
        times = []
        for _ in range(3 * DAY // 1200):
            if await self.end(FAILURE):
                times.append(self.reactor.seconds())
            await self.pass_time(1200, 1200)
        assert len(times) >= 5
        for first, fourth in zip(times, times[3:], strict=False):
            assert fourth - first >= DAY
        [entry] = json.loads((self.output / "status/due-sources.json").read_text())
        assert entry["app"] == "a.b"
        assert entry["failing"]
        metrics = (self.output / "metrics/due-sources.prom").read_text()
        assert re.search(r"^fdroid_bb_due_failing_apps\{.*\} 1$", metrics, re.MULTILINE)
        await tested.shutdown()

    @defer.inlineCallbacks
    def test_a_newer_release_is_not_done_by_an_older_check(self) -> Any:
        yield defer.ensureDeferred(self.newer())

    async def newer(self) -> None:
        """A tag arrives while the check for the one before runs."""
        tested = await self.begin({"a.b": {}})
        await self.release("a.b")
        first, *_ = await self.waiting()
        await self.release("a.b")
        updates = self.master.data.updates
        await updates.claimBuildRequests([first["buildrequestid"]])
        await updates.completeBuildRequests([first["buildrequestid"]], SUCCESS)
        await self.settle()
        assert await self.end(FAILURE) == ["a.b"]
        assert await self.until_asked() == ["a.b"]
        await self.end(SUCCESS)
        await tested.shutdown()

    @defer.inlineCallbacks
    def test_who_is_switched_off_asks_for_nothing(self) -> Any:
        yield defer.ensureDeferred(self.switched_off())

    async def switched_off(self) -> None:
        """On the web page, and also after a restart."""
        self.patch(due, "TICK", 1800)
        apps = {f"org.n{n}": {"checkInterval": HOUR} for n in range(3)}
        tested = await self.begin(apps)
        [scheduler] = [s for s in self.master.scheduler_manager if s.name == "sources"]
        await self.master.data.updates.schedulerEnable(scheduler.serviceid, False)
        await self.settle()
        await self.pass_time(6 * HOUR, 1800)
        assert await self.waiting() == []
        await tested.shutdown()
        tested = await self.begin(apps)
        await self.pass_time(6 * HOUR, 1800)
        assert await self.waiting() == []
        [scheduler] = [s for s in self.master.scheduler_manager if s.name == "sources"]
        await self.master.data.updates.schedulerEnable(scheduler.serviceid, True)
        await self.settle()
        await self.pass_time(6 * HOUR, 1800)
        assert {await self.app_of(request) for request in await self.waiting()} == set(apps)
        await tested.shutdown()

    @defer.inlineCallbacks
    def test_each_app_is_checked_once_in_its_interval(self) -> Any:
        yield defer.ensureDeferred(self.checks())

    async def checks(self) -> None:
        """100 apps, two of them more often, and a master that was away for half a day."""
        self.patch(due, "TICK", 1800)
        apps: dict[str, dict[str, Any]] = {f"org.n{n}": {} for n in range(98)}
        apps |= {f"org.http{n}": {"checkInterval": DAY} for n in range(2)}
        tested = await self.begin(apps)
        found: Counter[str] = Counter()
        most = 0
        for part in range(14):
            for _ in range(12 * HOUR // 1800):
                await self.pass_time(1800, 1800)
                waiting = await self.waiting()
                most = max(most, len(waiting))
                assert {request["priority"] for request in waiting} <= {due.LOWEST}
                found.update(await self.end(SUCCESS))
            if part == 6:
                await tested.shutdown()
                self.reactor.advance(12 * HOUR)
                tested = await self.begin(apps)
        await self.pass_time(DAY, 1800)
        found.update(await self.end(SUCCESS))
        for app in apps:
            turns = 8 if "http" in app else 1
            assert turns <= found[app] <= turns + 1, app
        # Spread evenly: 98 in a week are one in 103 minutes.
        assert most <= 5
        await tested.shutdown()


CONFIG = """
from fdroid_bb.queueing import due
due.FIRST_PAUSE = due.TICK = 1
c["workers"].append(worker.LocalWorker("local"))
c["builders"].append(util.BuilderConfig(name="check", workernames=["local"],
    factory=util.BuildFactory([steps.ShellCommand(command=["sh", "-c", "test -e OPEN"])])))
c["schedulers"].append(AppSourceScheduler(name="sources", builderNames=["check"],
    change_filter=util.ChangeFilter(category="app-source"), treeStableTimer=1, checksPerDay=100))
c["change_source"] = [
    AppGitPoller("org.example.app", URL, tags="", pollInterval=1, allow_protocol="http")]
"""


def test_a_release_survives_an_outage_and_a_crash(tmp_path: Path, server: Server) -> None:
    repository = server.repository("due.git")
    repository.tag("v1")
    opened = tmp_path / "opened"
    config = CONFIG.replace("OPEN", str(opened)).replace("URL", repr(repository.url))
    with Master(tmp_path / "master", config) as master:
        wait_for("the first poll", lambda: "refs" in _state(master))
        repository.tag("v2")

        def builds() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = master.rest("builds?complete=true&order=buildid")[
                "builds"
            ]
            return found

        wait_for("two failures", lambda: len(builds()) >= 2)
        assert {build["results"] for build in builds()} == {FAILURE}
        status = master.output / "status/due-sources.json"
        wait_for("the report", lambda: status.exists() and "org.example.app" in status.read_text())
        master.kill()
        opened.touch()
        master.start()
        wait_for("a good check", lambda: any(build["results"] == SUCCESS for build in builds()))
        wait_for("the end of it", lambda: json.loads(status.read_text()) == [])
        assert "Traceback" not in master.log()


def _state(master: Master) -> str:
    with sqlite3.connect(master.basedir / "state.sqlite") as database:
        rows = database.execute(
            """SELECT s.name FROM object_state s JOIN objects o ON o.id = s.objectid
                WHERE o.name = ?""",
            ("org.example.app",),
        )
        return " ".join(row[0] for row in rows)
