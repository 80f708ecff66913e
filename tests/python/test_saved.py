# SPDX-License-Identifier: GPL-2.0-or-later
"""State that an older or a newer program has written."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fdroid_bb.common.saved import recalled
from fdroid_bb.polling.app_git_poller import Seen
from fdroid_bb.polling.hosts import Outage
from fdroid_bb.polling.repository import Failing
from fdroid_bb.polling.sources import Saved
from fdroid_bb.queueing.due import Due
from masters import Master, wait_for
from repositories import Server

READ: list[tuple[type[Any], Any, Any]] = [
    (Failing, [1.5, 3, "gone"], Failing(1.5, 3, "gone")),
    (Failing, [1, 3, "gone", "one more"], Failing(1, 3, "gone")),
    (Failing, {"why": "gone", "polls": 3, "since": 1, "more": {}}, Failing(1, 3, "gone")),
    (Due, {"since": 1}, Due(1)),
    (Due, {"since": 1, "failures": [2, 3.5], "again": None}, Due(1, failures=[2, 3.5])),
    (Outage, [1, 2, 3, 4, "why"], Outage(1, 2, 3, 4, "why")),
    (Seen, {"watch": "HEAD", "refs": "a b"}, Seen("HEAD", "a b")),
    (Saved, {}, Saved()),
    (Saved, {"alive": 7, "failing": {"x": [1]}, "version": 2}, Saved(7, {"x": [1]})),
]

SET_ASIDE: list[tuple[type[Any], Any]] = [
    (Failing, [1, 3]),
    (Failing, ["1", 3, "gone"]),
    (Failing, [True, 3, "gone"]),
    (Failing, [1, 3.5, "gone"]),
    (Failing, "gone"),
    (Failing, None),
    (Due, {}),
    (Due, {"since": 1, "failures": "2"}),
    (Due, {"since": 1, "failures": [None]}),
    (Due, {"since": None}),
    (Seen, {"watch": "HEAD", "refs": ["a"]}),
    (Saved, [[]]),
    (Saved, {"owed": {"x": 1}}),
]


@pytest.mark.parametrize(("kind", "saved", "expected"), READ)
def test_what_is_known_is_read(kind: type[Any], saved: Any, expected: Any) -> None:
    assert recalled(kind, saved, "it") == expected


@pytest.mark.parametrize(("kind", "saved"), SET_ASIDE)
def test_what_does_not_fit_is_set_aside(kind: type[Any], saved: Any) -> None:
    assert recalled(kind, saved, "it") is None


POLLER = """
c["change_source"] = [AppGitPoller("org.a", {url!r}, tags="", pollInterval=2,
    allow_protocol="http")]
c["schedulers"].append(AppSourceScheduler("news", builderNames=["idle"],
    change_filter=util.ChangeFilter(category="app-source")))
"""


def test_a_master_starts_with_what_another_version_left(tmp_path: Path, server: Server) -> None:
    repo = server.repository("saved.git")
    repo.tag("v1")
    with Master(tmp_path / "master", POLLER.format(url=repo.url)) as master:
        state = master.basedir / "state.sqlite"
        listed = master.output / "status/app-sources.json"

        def values() -> dict[str, Any]:
            with closing(sqlite3.connect(state, timeout=60)) as database:
                rows = database.execute(
                    "select o.name || '/' || s.name, s.value_json from object_state s "
                    "join objects o on o.id = s.objectid"
                )
                return {name: json.loads(value) for name, value in rows}

        wait_for("a poll", lambda: values().get("org.a/refs", {}).get("watch"))
        wait_for("a sign of life", listed.exists)
        master.kill()
        with closing(sqlite3.connect(state, timeout=60)) as database:
            for name, value in (
                ("master-1", {"alive": "now", "failing": {"x": [1, 2, 3, 4, 5]}, "hosts": 7}),
                ("refs", {"watch": 7, "refs": None}),
            ):
                count = database.execute(
                    "update object_state set value_json = ? where name = ?",
                    (json.dumps(value), name),
                ).rowcount
                assert count == 1, name
            (scheduler,) = database.execute(
                "select id from objects where name = 'news' and class_name = 'AppSourceScheduler'"
            ).fetchone()
            database.execute(
                "insert into object_state (objectid, name, value_json) values (?, ?, ?)",
                (scheduler, "org.a", json.dumps({"since": "long ago", "more": 1})),
            )
            database.commit()
        listed.unlink()
        master.start()
        wait_for("the list again", listed.exists)
        wait_for("the refs again", lambda: values()["org.a/refs"]["watch"] == "refs/tags/")
        log = master.log()
        assert "app sources: what is saved is of another version, and is set aside: " in log
        assert "org.a: what is saved is of another version, and is set aside: " in log
        assert "what is due of org.a: what is saved is of another version" in log
        assert "Traceback" not in log
