# SPDX-License-Identifier: GPL-2.0-or-later
"""A Docker engine that is asked over TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import DOCKER_IMAGE
from masters import PATIENCE, ROOT, Master, free_ports, put_secrets
from program import generate
from test_described_masters import PASSWORD, SUCCESS, forced

BRIDGE = "172.17.0.1"

DESCRIPTION = """
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[masters.main]
title = "far engine"
url = "http://127.0.0.1:WWW/"
worker-listen = "BRIDGE:PB"

[masters.main.web]
listen = "127.0.0.1:WWW"
users.demo = { password = { secret = "web-demo" }, roles = ["people"] }
allow.force = ["people"]

[workers.tls]
master = "main"

[workers.tls.docker]
image = "IMAGE"
host = "tcp://127.0.0.1:ENGINE"
tls = { ca = "FOLDER/ca.pem", cert = "FOLDER/ca.pem", key = "FOLDER/key.pem" }
master-host = "BRIDGE"

[builders.over-tls]
workers = ["tls"]
steps = [{ name = "say", run = ["echo", "in a container"] }]

[schedulers.force]
on = "force"
builders = ["over-tls"]
"""


class Engine:
    """The engine of this machine, over TLS for those that have the key."""

    def __init__(self, folder: Path) -> None:
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        self._context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem"
        )
        self._context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with (
                self._context.wrap_socket(plain, server_side=True) as client,
                socket.socket(socket.AF_UNIX) as engine,
            ):
                engine.connect("/var/run/docker.sock")
                back = threading.Thread(target=copy, args=(engine, client), daemon=True)
                back.start()
                copy(client, engine)
                back.join()
        except OSError:
            plain.close()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


def answer(context: ssl.SSLContext, plain: socket.socket) -> bytes:
    """What an engine answers to somebody."""
    try:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            return client.recv(100)
    except OSError:
        return b""


def copy(source: socket.socket, target: socket.socket) -> None:
    """All that comes from one goes to the other."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def far(tmp_path: Path, docker_engine: None) -> Iterator[Master]:
    """A master whose engine is asked over TLS."""
    engine = Engine(tmp_path)
    www, pb = free_ports(2)
    values = {"WWW": www, "PB": pb, "BRIDGE": BRIDGE, "IMAGE": DOCKER_IMAGE}
    text = DESCRIPTION
    for name, value in {**values, "ENGINE": engine.port, "FOLDER": tmp_path}.items():
        text = text.replace(name, str(value))
    (tmp_path / "fdroid-bb.toml").write_text(text)
    masters = generate(tmp_path / "fdroid-bb.toml", ROOT / "example/fdroiddata", tmp_path / "out")
    put_secrets(tmp_path / "master", {"web-demo": PASSWORD})
    config = masters / "main/master.cfg"
    # To `requests`, an authority that the environment names comes before that of a client.
    env = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    with Master(tmp_path / "master", configfile=config, www_port=www, env=env) as master:
        yield master
    # Nobody without the key gets further than the greeting.
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with socket.create_connection(("127.0.0.1", engine.port)) as plain:
        assert answer(context, plain) == b""
    engine.close()


def test_a_build_on_an_engine_over_tls(far: Master) -> None:
    who = far.login("demo", PASSWORD)
    build = forced(far, "force", "over-tls", who)
    steps = far.steps(build)
    assert build["results"] == SUCCESS, "".join(step["text"] for step in steps.values())
    assert "in a container" in steps["say"]["text"]
