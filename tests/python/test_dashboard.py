# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of all apps: what it says, also with thousands of them, and to a browser."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

from browser import page_text
from masters import PATIENCE, Master, wait_for

CONFIG = """
c["www"]["plugins"] = {
    "wsgi_dashboards": [{"name": "apps", "caption": "Apps", "app": dashboard, "order": 1,
                         "icon": "FaTable"}]
}
c["workers"] = [worker.LocalWorker("one", max_builds=1)]
c["builders"] = [
    util.BuilderConfig(
        name="build",
        workernames=["one"],
        factory=AppFactory(
            [steps.ShellCommand(command=["sh", "-c", "sleep $S; exit $R"],
                env={"S": util.Property("pause", "0"), "R": util.Property("code", "0")})],
            page="packageName",
            metadata_url="https://example.org/{}.yml",
        ),
    ),
]
c["collapseRequests"] = False
c["schedulers"] = [
    schedulers.ForceScheduler(name="force", builderNames=["build"], properties=[
        util.StringParameter(name=name) for name in ("packageName", "pause", "code")
    ]),
]
"""

# Each question to the database is logged.
COUNTED = """
import sqlalchemy
@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute")
def count(connection, cursor, statement, *arguments):
    print("asked:", " ".join(statement.split()))
"""

HOSTILE = '<img src=x onerror="alert(1)">'


def page(master: Master) -> str:
    """As the web page fetches it."""
    answer = master.ask("GET", "/plugins/wsgi_dashboards/apps/index.html")
    assert answer.status == 200, answer
    return answer.text


def rows(html: str, title: str) -> list[list[str]]:
    """The cells of the table below a title, as text."""
    part = html.split(f"<h4>{title}</h4>")[1].split("<h4>")[0]
    found = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"(?s)<tr>(.*?)</tr>", part)]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in found if row]


def down(host: str, apps: int) -> dict[str, Any]:
    """A host that told us to wait, as the master lists it."""
    times = {"since": "2026-01-01", "asked_again": "2026-01-02"}
    return {"host": host, "apps": apps, "told_us_to_wait": True, "why": "error: 429", **times}


def press(master: Master, app: str, **values: Any) -> None:
    answer = master.force("force", "build", packageName=app, **values)
    assert answer.status == 200, answer


def test_what_runs_what_waits_and_what_fails(tmp_path: Path, chromium: str) -> None:
    with Master(tmp_path / "master", CONFIG) as master:
        assert "no app was built yet" in page(master)
        press(master, "org.example.good")
        press(master, "org.example.bad", code="1")
        press(master, "org.example.mended", code="1")
        press(master, "org.example.mended")
        wait_for("the builds", lambda: len(master.rest("builds?complete=true")["builds"]) == 4)
        press(master, "org.example.busy", pause="60")
        wait_for("the build", lambda: master.rest("builds?complete=false")["builds"])
        for app in ("org.example.second", HOSTILE, "org.example.last"):
            press(master, app)
        press(master, "", project="org.example.project")
        press(master, "x" * 1000)
        press(master, "org.example.first", priority=5)
        dead = {"repository": "https://dead.example.org/", "apps": ["a.b"], "dead": True}
        failing = [{**dead, "since": "2026-01-01", "why": HOSTILE}, {**dead, "dead": False}]
        assert "nothing is known of them yet" in page(master)
        document = {"apps": 3950, "network_away": False, "hosts_down": [], "failing": failing}
        sources = master.output / "status/app-sources.json"
        sources.parent.mkdir()
        sources.write_text(json.dumps(document))
        well = page(master)
        document["hosts_down"] = [down("forge.example.org", 3000), down("git.example.org", 2)]
        sources.write_text(json.dumps(document))
        html = page(master)
        address = f"http://127.0.0.1:{master.www_port}"
        shown = page_text(chromium, f"{address}/#/apps")
        home = page_text(chromium, address)
        # As the master found them, though it writes no more.
        os.utime(sources, (0, 0))
        old = page(master)
        sources.write_text(json.dumps(document | {"network_away": True}))
        away = page(master)
    assert "all hosts of 3950 apps answer" in well
    assert "alert-danger" not in well
    assert '<p class="alert alert-danger">3002 of 3950 apps are not watched' in html
    assert rows(html, "Hosts that do not answer") == [
        ["forge.example.org", "3000", "2026-01-01", "2026-01-02, as it told us", "error: 429"],
        ["git.example.org", "2", "2026-01-01", "2026-01-02, as it told us", "error: 429"],
    ]
    assert '<p class="alert alert-danger">the master has said nothing of them for' in old
    assert '<p class="alert alert-danger">no host answers: none of 3950 apps is watched' in away
    assert "3002 of 3950 apps are not watched" in shown
    [running] = rows(html, "Running builds")
    assert running[:3] == ["org.example.busy", "build", "one"]
    queue = [row[:4] for row in rows(html, "Queue")]
    escaped = "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;"
    assert queue == [
        ["1", "org.example.first", "build", "5"],
        ["2", "org.example.second", "build", "0"],
        ["3", escaped, "build", "0"],
        ["4", "org.example.last", "build", "0"],
        ["5", "org.example.project", "build", "0"],
        ["6", "x" * 100, "build", "0"],
    ]
    assert "2 success, 1 failure" in html
    assert [row[:2] for row in rows(html, "Failing apps")] == [["org.example.bad", "failure"]]
    everything = html.split("<h4>All apps</h4>")[1].split("</p>")[0]
    listed = re.findall(r'<a href="#/builders/\d+">([^<]+)</a> (\w+)', everything)
    assert listed == [
        ("org.example.bad", "failure"),
        ("org.example.good", "success"),
        ("org.example.mended", "success"),
    ]
    assert rows(html, "Dead repositories") == [
        ["https://dead.example.org/", "a.b", "2026-01-01", escaped]
    ]
    assert "not known when it was generated" in html
    assert "<img" not in html
    # In the menu, and in the page that a browser makes of it.
    assert "Apps" in home
    assert "org.example.busy" in shown


def test_thousands_of_apps(tmp_path: Path) -> None:
    with Master(tmp_path / "master", CONFIG + COUNTED) as master:
        press(master, "org.example.zero")
        wait_for("the build", lambda: master.rest("builds?complete=true")["builds"])
        with sqlite3.connect(master.basedir / "state.sqlite", timeout=PATIENCE) as database:
            [tag] = database.execute("SELECT id FROM tags WHERE name = '_virtual_'").fetchone()
            numbers = range(10_000, 14_000)
            database.executemany(
                "INSERT INTO builders (id, name, name_hash) VALUES (?, ?, ?)",
                [(n, f"org.example.app{n}", str(n)) for n in numbers],
            )
            database.executemany(
                "INSERT INTO builders_tags (builderid, tagid) VALUES (?, ?)",
                [(n, tag) for n in numbers],
            )
            database.executemany(
                """INSERT INTO builds (number, builderid, buildrequestid, workerid, masterid,
                    started_at, complete_at, locks_duration_s, state_string, results)
                   VALUES (?, ?, 1, 1, 1, 1000, 2000, 0, '', ?)""",
                [(i, n, 2 * (n % 2)) for i in range(1, 6) for n in numbers],
            )
        before = len(master.log())
        html = page(master)
        asked = master.log()[before:].count("] asked: ")
    assert "2001 success, 2000 failure" in html
    assert len(rows(html, "Failing apps")) == 200
    assert "and 1800 more" in html
    assert html.split("<h4>All apps</h4>")[1].count("<a href=") == 4001
    # Not one for each app; the master itself asks something now and then.
    assert 1 <= asked < 100
