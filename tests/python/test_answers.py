# SPDX-License-Identifier: GPL-2.0-or-later
"""What servers answer besides refs, and what is made of it: a real git, asked by a real master."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fdroid_bb.polling.ls_remote import Remote
from masters import Master, wait_for
from repositories import Repository, Server

CONFIG = """
from fdroid_bb.polling import hosts, sources
hosts.FIRST_PAUSE = 1
hosts.LONGEST_PAUSE_AT_LEAST = 2
sources._HEARTBEAT = 1
c["change_source"] = [AppGitPoller(name, pollInterval=1, allow_protocol="http",
    operator="Testers, testers@example.org", **more) for name, more in POLLERS.items()]
"""

HTML = {"Content-Type": "text/html"}
ADVERTISED = {"Content-Type": "application/x-git-upload-pack-advertisement"}


@dataclass
class Forge:
    """A web server that answers everything alike, on a port of its own: another host."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    # The user agents that asked.
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                forge.asked.append(self.headers["User-Agent"])
                self.send_response(forge.status)
                for key, value in forge.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(forge.body)))
                self.end_headers()
                self.wfile.write(forge.body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        """Its name in the list."""
        return f"127.0.0.1:{self.server.server_address[1]}"


@dataclass
class World:
    """A master, and whom it asks."""

    master: Master
    forges: dict[str, Forge]
    branchless: Repository

    def listed(self) -> dict[str, Any]:
        """What the master says of them."""
        path = self.master.output / "status/app-sources.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        return {"failing": [], "hosts_down": [], **found}

    def failing(self, app: str) -> dict[str, Any]:
        """The entry of an app's repository, once it is there."""

        def entry() -> dict[str, Any] | None:
            return next((e for e in self.listed()["failing"] if app in e["apps"]), None)

        found = wait_for(f"{app} to be listed", entry)
        assert found is not None
        return found

    def down(self, forge: str) -> dict[str, Any]:
        """The entry of a host, once it is there."""
        name = self.forges[forge].host

        def entry() -> dict[str, Any] | None:
            return next((h for h in self.listed()["hosts_down"] if h["host"] == name), None)

        found = wait_for(f"{forge} to be down", entry)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[World]:
    in_an_hour = formatdate(time.time() + 3600, usegmt=True)
    forges = {
        "too many": Forge(429, {"Retry-After": "3600"}),
        "busy": Forge(503, {"Retry-After": in_an_hour}),
        "broken": Forge(500),
        "parked": Forge(200, HTML, b"<!doctype html>\n<h1>This domain is for sale</h1>\n"),
        # To git this is a repository without refs.
        "parked in a line": Forge(200, HTML, b"<h1>This domain is for sale</h1>"),
        "empty": Forge(200, ADVERTISED),
        "forbidden": Forge(403, {}, b"remote: blocked\n"),
    }
    branchless = server.repository("branchless.git")
    branchless.commit("release")
    unborn = server.repository("unborn.git")
    unborn.git("symbolic-ref", "HEAD", "refs/heads/none")
    unborn.git("update-ref", "-d", "refs/heads/main")
    pollers: dict[str, dict[str, Any]] = {
        name: {"repourl": f"http://{forge.host}/x.git", "tags": ""}
        for name, forge in forges.items()
    }
    pollers["branchless"] = {"repourl": branchless.url, "branch": "release"}
    pollers["unborn"] = {"repourl": unborn.url}
    pollers["unborn tags"] = {"repourl": unborn.url, "tags": ""}
    config = f"POLLERS = {pollers!r}\n{CONFIG}"
    with Master(tmp_path_factory.mktemp("answers") / "master", config) as master:
        yield World(master, forges, branchless)
        assert "Traceback" not in master.log()
    for forge in forges.values():
        forge.server.shutdown()
        forge.server.server_close()


@pytest.mark.parametrize(("forge", "status"), [("too many", 429), ("busy", 503)])
def test_a_host_that_says_when_to_come_back_is_not_asked_before(
    world: World, forge: str, status: int
) -> None:
    entry = world.down(forge)
    assert entry["told_us_to_wait"]
    assert str(status) in entry["why"]
    assert len(world.forges[forge].asked) == 1
    # While another, which says nothing of the kind, is asked again and again.
    before = len(world.forges["broken"].asked)
    wait_for("more questions", lambda: len(world.forges["broken"].asked) >= before + 3)
    assert not world.down("broken")["told_us_to_wait"]
    assert len(world.forges[forge].asked) == 1


def test_who_asks_is_told(world: World) -> None:
    asked = wait_for("a question", lambda: world.forges["broken"].asked)
    assert set(asked) == {"git/fdroid-bb (Testers, testers@example.org)"}


def test_a_page_that_is_no_repository_is_a_failure_with_all_that_git_said(world: World) -> None:
    why = world.failing("parked")["why"]
    assert "not valid" in why
    assert "is this a git repository?" in why
    in_a_line = world.failing("parked in a line")["why"]
    assert in_a_line == "an answer without HEAD and without tags"
    assert world.failing("empty")["why"]
    forbidden = world.failing("forbidden")["why"]
    assert "403" in forbidden
    # Such answers concern one repository, and the host is there.
    names = ("parked", "parked in a line", "empty", "forbidden")
    down = {entry["host"] for entry in world.listed()["hosts_down"]}
    assert not down & {world.forges[name].host for name in names}


def test_a_repository_without_what_is_watched_is_a_failing_source(world: World) -> None:
    assert world.failing("unborn")["why"] == "an answer without HEAD"
    assert world.failing("unborn tags")["why"] == "an answer without HEAD and without tags"
    assert not any("branchless" in entry["apps"] for entry in world.listed()["failing"])
    world.branchless.git("update-ref", "-d", "refs/heads/release")
    assert world.failing("branchless")["why"] == "an answer without the branch `release`"
    world.branchless.commit("release")

    def listed() -> bool:
        return any("branchless" in entry["apps"] for entry in world.listed()["failing"])

    wait_for("it to come back", lambda: not listed())


def test_the_port_that_goes_without_saying_makes_no_other_host() -> None:
    def host(url: str) -> str:
        return Remote(url, "https", 60).host

    assert host("https://Git.example.org:443/x") == host("https://git.example.org./y")
    assert host("http://git.example.org:80/x") == "git.example.org"
    assert host("https://git.example.org:8443/x") == "git.example.org:8443"
