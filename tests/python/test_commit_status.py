# SPDX-License-Identifier: GPL-2.0-or-later
"""What GitLab is told of builds. A server stands in for it: there is none to be had here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from masters import Master, wait_for

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "a token nobody sees"

CONFIG = f"""
c["collapseRequests"] = False
c["workers"] = [worker.LocalWorker("one", max_builds=1)]
c["builders"] = [
    util.BuilderConfig(name=name, workernames=["one"], factory=util.BuildFactory([
        steps.SetProperty(property="got_revision", value=util.Property("checked_out")),
        steps.ShellCommand(command=["sh", "-c", "exit $R"], env={{"R": util.Property("code")}}),
    ]))
    for name in ("build", "other")
]
c["schedulers"] = [
    schedulers.ForceScheduler(name="force", builderNames=["build", "other"], properties=[
        util.StringParameter(name=name)
        for name in ("packageName", "versionCode", "code", "checked_out")
    ]),
]
c["services"] += [
    CommitStatus(name="states", builders=["build"], token={TOKEN!r},
                 project="http://127.0.0.1:PORT/group/fdroiddata"),
]
"""


class Gitlab(ThreadingHTTPServer):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Gitlab

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        entry = (self.path, self.headers["PRIVATE-TOKEN"], json.loads(body))
        self.server.asked.append(entry)
        self.send_response(201)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gitlab() -> Iterator[Gitlab]:
    server = Gitlab()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_commit_shows_the_builds_that_are_of_it(tmp_path: Path, gitlab: Gitlab) -> None:
    config = CONFIG.replace("PORT", str(gitlab.server_address[1]))
    with Master(tmp_path / "master", config) as master:
        for builder, code, commit in (
            ("build", "0", COMMIT),
            ("build", "1", COMMIT),
            # Not of a whole commit, and of another builder.
            ("build", "0", "v1.0"),
            ("other", "0", COMMIT),
        ):
            values: dict[str, Any] = {
                "packageName": "org.example.a",
                "versionCode": "7",
                "code": code,
            }
            master.force("force", builder, **values, checked_out=commit)
        master.builds("build", 3)
        master.builds("other", 1)
        wait_for("the states", lambda: len(gitlab.asked) >= 2)
        text = master.log()
    ends = [body["state"] for _, _, body in gitlab.asked if body["state"] != "running"]
    assert ends == ["success", "failed"]
    for path, token, body in gitlab.asked:
        assert path == f"/api/v4/projects/group%2Ffdroiddata/statuses/{COMMIT}"
        assert token == TOKEN
        assert body["name"] == "build org.example.a:7"
        assert f"http://127.0.0.1:{master.www_port}/#/builders/" in body["target_url"]
    assert TOKEN not in text
