# SPDX-License-Identifier: GPL-2.0-or-later
"""The web pages behind a real nginx, as recipes/nginx.conf has it, below a path."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ask import Answer, ask
from browser import page_text
from masters import PATIENCE, ROOT, Master, free_ports, put_secrets, wait_for
from program import generate

PASSWORD = "correct horse battery staple"

NGINX = """
daemon off;
pid FOLDER/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    scgi_temp_path FOLDER/scgi;
    uwsgi_temp_path FOLDER/uwsgi;
    server {
        listen 127.0.0.1:PORT;
        include FOLDER/buildbot.conf;
    }
}
"""


@dataclass
class Proxied:
    """A master, and the port of the proxy before it."""

    master: Master
    port: int

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """What the proxy answers."""
        return ask(self.port, method, f"/buildbot{path}", None, headers or {})


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """The example's description below a path."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx: make it ready with ./dev testbed")
    folder = tmp_path_factory.mktemp("proxy")
    web_port, worker_port, port = free_ports(3)
    text = (ROOT / "example/fdroid-bb.toml").read_text()
    config = folder / "fdroid-bb.toml"
    assert 'url = "http://localhost:8010/"' in text
    text = text.replace(
        'url = "http://localhost:8010/"', f'url = "http://127.0.0.1:{port}/buildbot/"'
    )
    text = text.replace(
        "[masters.example]", f'[masters.example]\nworker-listen = "127.0.0.1:{worker_port}"'
    )
    text = text.replace(
        "[masters.example.web]",
        f'[masters.example.web]\nlisten = "127.0.0.1:{web_port}"\nviews = ["dashboard"]',
    )
    config.write_text(text)
    masters = generate(config, ROOT / "example/fdroiddata", folder / "out")
    basedir = folder / "master"
    put_secrets(basedir, {"web-demo": PASSWORD})
    recipe = (ROOT / "recipes/nginx.conf").read_text()
    assert recipe.count("127.0.0.1:8010") == 4
    (folder / "buildbot.conf").write_text(recipe.replace("127.0.0.1:8010", f"127.0.0.1:{web_port}"))
    main = NGINX.replace("FOLDER", str(folder)).replace("PORT", str(port))
    (folder / "nginx.conf").write_text(main)
    with Master(basedir, configfile=masters / "example/master.cfg", www_port=web_port) as master:
        server = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])
        try:
            found = Proxied(master, port)

            def answers() -> bool:
                try:
                    return found.ask("GET", "/").status == 200
                except OSError:
                    return False

            wait_for("nginx", answers)
            yield found
        finally:
            server.terminate()
            server.wait(20)


def test_pages_and_data_and_events_come_through(proxied: Proxied, chromium: str) -> None:
    moved = ask(proxied.port, "GET", "/buildbot", None, {})
    assert moved.status == 301
    assert dict(moved.headers)["Location"] == f"http://127.0.0.1:{proxied.port}/buildbot/"
    builders = json.loads(proxied.ask("GET", "/api/v2/builders").text)["builders"]
    assert builders == proxied.master.rest("builders")["builders"]
    shown = page_text(chromium, f"http://127.0.0.1:{proxied.port}/buildbot/#/builders")
    assert builders[0]["name"] in shown
    assert "fdroid-bb example" in shown
    dashboard = page_text(chromium, f"http://127.0.0.1:{proxied.port}/buildbot/#/apps")
    assert "Running builds" in dashboard


def test_who_logs_in_there_is_known_there(proxied: Proxied) -> None:
    secret = base64.b64encode(f"demo:{PASSWORD}".encode()).decode()
    answer = proxied.ask("GET", "/auth/login", {"Authorization": f"Basic {secret}"})
    headers = dict(answer.headers)
    assert headers["Location"].startswith(f"http://127.0.0.1:{proxied.port}/buildbot/")
    cookie = headers["Set-Cookie"].split(";")[0]
    config = proxied.ask("GET", "/config", {"Cookie": cookie}).text
    assert '"username": "demo"' in config
    assert '"anonymous": true' in proxied.ask("GET", "/config").text


def frame(message: Any) -> bytes:
    """One short text of a client, masked with zeros (RFC 6455)."""
    text = json.dumps(message).encode()
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


def test_the_websocket_comes_through(proxied: Proxied) -> None:
    with socket.create_connection(("127.0.0.1", proxied.port), timeout=PATIENCE) as connection:
        connection.sendall(
            f"GET /buildbot/ws HTTP/1.1\r\nHost: 127.0.0.1:{proxied.port}\r\n"
            f"Origin: http://127.0.0.1:{proxied.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        assert b"101" in stream.readline()
        headers = b"".join(iter(stream.readline, b"\r\n"))
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in headers

        def answer() -> Any:
            kind, length = stream.read(2)
            assert kind == 0x81
            if length == 126:
                length = int.from_bytes(stream.read(2), "big")
            return json.loads(stream.read(length))

        connection.sendall(frame({"cmd": "ping", "_id": 1}))
        assert answer() == {"_id": 1, "msg": "pong", "code": 200}
        # What happens on the master is told at once.
        wanted = {"cmd": "startConsuming", "path": "changes/*/*", "_id": 2}
        connection.sendall(frame(wanted))
        assert answer()["code"] == 200
        connection.sendall(frame({"cmd": "ping", "_id": 3}))
        assert answer()["_id"] == 3


def test_events_come_through_as_they_happen(proxied: Proxied) -> None:
    path = "/buildbot/sse/listen/schedulers/*/*"
    with socket.create_connection(("127.0.0.1", proxied.port), timeout=PATIENCE) as connection:
        host = f"127.0.0.1:{proxied.port}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        stream = connection.makefile("rb")
        assert b"200" in stream.readline()

        def until(word: bytes) -> None:
            while word not in stream.readline():
                pass

        # The connection stays open, so a proxy that collects would let this wait in vain.
        until(b"handshake")
        secret = base64.b64encode(f"demo:{PASSWORD}".encode()).decode()
        answer = proxied.ask("GET", "/auth/login", {"Authorization": f"Basic {secret}"})
        cookie = dict(answer.headers)["Set-Cookie"].split(";")[0]
        [scheduler, *_] = proxied.master.rest("schedulers")["schedulers"]
        body = {"jsonrpc": "2.0", "id": 1, "method": "enable", "params": {"enabled": False}}
        headers = {"Content-Type": "application/json", "Cookie": cookie}
        api = f"/api/v2/schedulers/{scheduler['schedulerid']}"
        assert proxied.master.ask("POST", api, json.dumps(body), headers).status == 200
        until(scheduler["name"].encode())
