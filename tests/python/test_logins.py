# SPDX-License-Identifier: GPL-2.0-or-later
"""Logins with accounts of forges: real masters, and a server that answers as forges do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ask import Answer, ask
from masters import ROOT, Master, free_ports, put_secrets
from program import generate

SECRET = "s3cret of the application"

DESCRIPTION = """
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[masters.login]
title = "login"
url = "http://127.0.0.1:WWW/"
worker-listen = "127.0.0.1:PB"

[masters.login.web]
listen = "127.0.0.1:WWW"
allow.force = ["people"]

[masters.login.web.login]
FORGE = { url = "URL", client-id = "the-id", client-secret = { secret = "oauth" } }
grants = [{ users = ["some.body"], groups = ["GROUP"], roles = ["people"] }]

[workers.local]
master = "login"
local = {}

[builders.build]
workers = ["local"]
steps = [{ run = ["true"] }]

[schedulers.force]
on = "force"
builders = ["build"]
"""


class Forge:
    """A forge where `user` says yes to whatever is asked."""

    def __init__(self) -> None:
        self.user = ""
        self.groups: list[str] = []
        self.scopes: set[str] = set()
        self.secret = SECRET
        self.codes: set[str] = set()
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                if parts.path in ("/oauth/authorize", "/login/oauth/authorize"):
                    forge.scopes.add(query["scope"])
                    assert query["client_id"] == "the-id"
                    code = f"code {len(forge.codes)}"
                    forge.codes.add(code)
                    back = urlencode({"code": code, "state": query["state"]})
                    self.send_response(302)
                    self.send_header("Location", f"{query['redirect_uri']}?{back}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if self.headers["Authorization"] not in ("Bearer a token", "token a token"):
                    self.answer(401, {"message": "401 Unauthorized"})
                elif "access_token" in query:
                    self.answer(400, {"message": "no tokens in URLs"})
                elif parts.path in ("/api/v4/user", "/api/v3/user"):
                    login = "username" if "v4" in parts.path else "login"
                    self.answer(200, {login: forge.user, "name": None, "email": None})
                elif parts.path == "/api/v4/groups":
                    # Without this, GitLab lists all groups that can be seen.
                    member = query.get("min_access_level") == "10"
                    first = (int(query["page"]) - 1) * 100
                    groups = forge.groups if member else [*forge.groups, "fdroid/admins"]
                    found = [{"full_path": g, "path": g.rsplit("/")[-1]} for g in groups]
                    self.answer(200, found[first : first + 100])
                elif parts.path == "/api/v3/user/orgs":
                    self.answer(200, [{"login": group} for group in forge.groups])
                else:
                    self.answer(404, {"message": self.path})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                asked = {key: values[0] for key, values in parse_qs(body).items()}
                known = asked.get("code") in forge.codes
                forge.codes.discard(asked.get("code", ""))
                if asked.get("client_secret") != forge.secret or not known:
                    self.answer(401, {"error": "invalid_grant"})
                else:
                    self.answer(200, {"access_token": "a token", "token_type": "bearer"})

            def answer(self, status: int, what: Any) -> None:
                text = json.dumps(what).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class Browser:
    """Somebody's: it has cookies, and goes where it is sent."""

    def __init__(self, master: Master, forge: Forge) -> None:
        self.master = master
        self.forge = forge
        self.cookies: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        """What it sends."""
        return {"Cookie": "; ".join(f"{key}={value}" for key, value in self.cookies.items())}

    def get(self, path: str) -> Answer:
        """A page of the master."""
        answer = self.master.ask("GET", path, headers=self.headers())
        for key, value in answer.headers:
            if key.lower() == "set-cookie":
                name, _, value = value.split(";")[0].partition("=")
                self.cookies[name] = value
        return answer

    def begin(self) -> str:
        """Press the button for logging in; where the forge then sends the browser."""
        away = location(self.get("/auth/login"))
        parts = urlsplit(away)
        assert parts.port == self.forge.port
        return location(ask(self.forge.port, "GET", f"{parts.path}?{parts.query}", None, {}))

    def end(self, back: str) -> Answer:
        """Come back."""
        parts = urlsplit(back)
        assert parts.port == self.master.www_port
        return self.get(f"{parts.path}?{parts.query}")

    def login(self) -> Answer:
        """All of it."""
        return self.end(self.begin())

    def may_force(self) -> bool:
        """Whether it may start builds."""
        answer = self.master.force("force", "build", self.headers())
        assert answer.status in (200, 403), answer
        return answer.status == 200


def location(answer: Answer) -> str:
    """Where an answer sends a browser."""
    [found] = [value for key, value in answer.headers if key.lower() == "location"]
    return found


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A forge."""
    forge = Forge()
    yield forge
    forge.close()


def master(tmp_path: Path, forge: Forge, kind: str, group: str) -> Master:
    """A master whose people log in there."""
    www, pb = free_ports(2)
    changes = {"WWW": www, "PB": pb, "FORGE": kind, "GROUP": group}
    text = DESCRIPTION
    for name, value in changes.items():
        text = text.replace(name, str(value))
    config = tmp_path / "fdroid-bb.toml"
    config.write_text(text.replace("URL", f"http://127.0.0.1:{forge.port}/"))
    masters = generate(config, ROOT / "example/fdroiddata", tmp_path / "out")
    put_secrets(tmp_path / "login", {"oauth": SECRET})
    return Master(tmp_path / "login", configfile=masters / "login/master.cfg", www_port=www)


def test_gitlab(tmp_path: Path, forge: Forge) -> None:
    with master(tmp_path, forge, "gitlab", "fdroid/admins") as running:

        def logged_in(user: str, groups: list[str]) -> bool:
            forge.user, forge.groups = user, groups
            browser = Browser(running, forge)
            answer = browser.login()
            assert answer.status == 302, answer
            return browser.may_force()

        assert not Browser(running, forge).may_force()
        # By name, and by a group on whatever page; not by a group whose path only ends so.
        assert logged_in("some.body", [])
        assert logged_in("a", [*(f"g{n}" for n in range(150)), "fdroid/admins"])
        assert not logged_in("b", ["evil/admins", "admins", "fdroid"])
        assert not logged_in("c", [])
        assert forge.scopes == {"read_api"}

        # A code that the forge does not know, or that was used.
        forge.user = "some.body"
        browser = Browser(running, forge)
        back = browser.begin()
        assert browser.end(back.replace("code=", "code=x")).status >= 400
        assert not browser.may_force()
        # Another's login: with the link from one browser, nobody else is logged in.
        other = Browser(running, forge)
        back = browser.begin()
        assert other.end(back).status == 403
        assert not other.may_force()
        other.begin()
        assert other.end(back).status == 403
        assert not other.may_force()
        assert browser.end(back).status == 302
        assert browser.may_force()
        # Another secret.
        forge.secret = "another"
        browser = Browser(running, forge)
        assert browser.login().status >= 400
        assert not browser.may_force()
        assert SECRET not in running.log()
        assert "a token" not in running.log()


def test_github(tmp_path: Path, forge: Forge) -> None:
    with master(tmp_path, forge, "github", "f-droid") as running:
        for user, groups, may in (
            ("some.body", [], True),
            ("a", ["f-droid"], True),
            ("b", ["f-droid-fans"], False),
        ):
            forge.user, forge.groups = user, groups
            browser = Browser(running, forge)
            assert browser.login().status == 302
            assert browser.may_force() is may
        assert forge.scopes == {"read:org"}
