# SPDX-License-Identifier: GPL-2.0-or-later
"""What browsers are told with each page, in a real one too, and how fast passwords are guessed."""

from __future__ import annotations

import base64
import http.client
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from browser import page_text
from fdroid_bb.web.headers import HEADERS
from masters import Master, put_secrets

CONFIG = """
c["buildbotURL"] = "https://build.example.org/"
c["www"]["auth"] = SecretAuth({"admin": util.Secret("admin")})
c["secretsProviders"] = [secrets.SecretInAFile("secrets")]
c["www"]["plugins"] = {"wsgi_dashboards": [
    {"name": "apps", "caption": "Apps", "app": dashboard, "order": 1, "icon": "FaTable"}]}
c["title"] = "Builds </script><script>document.title = 'struck'</script>"
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    basedir = tmp_path_factory.mktemp("headers") / "master"
    put_secrets(basedir, {"admin": "pass"})
    with Master(basedir, CONFIG) as master:
        yield master


def get(master: Master, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", master.www_port, timeout=900)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def login(master: Master, password: str) -> http.client.HTTPResponse:
    credentials = base64.b64encode(f"admin:{password}".encode()).decode()
    return get(master, "/auth/login", Authorization=f"Basic {credentials}")


PATHS = ["/", "/api/v2/builders", "/api/v2/nothing", "/nothing", "/auth/login"]
PATHS += ["/browser-warning.js", "/plugins/wsgi_dashboards/apps/index.html", "/config"]


@pytest.mark.parametrize("path", PATHS)
def test_each_answer_says_what_it_may_do(master: Master, path: str) -> None:
    answer = get(master, path)
    for name, value in HEADERS.items():
        if name != "Content-Security-Policy" or path != "/":
            assert answer.headers.get_all(name) == [value]
    (policy,) = answer.headers.get_all("Content-Security-Policy") or []
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.replace("style-src 'self' 'unsafe-inline'", "").replace(
        "style-src 'unsafe-inline'", ""
    )


def test_each_page_has_a_nonce_of_its_own(master: Master) -> None:
    nonces = set()
    for _ in range(3):
        answer = get(master, "/")
        (nonce,) = re.findall(r"'nonce-(\S+)'", answer.headers["Content-Security-Policy"])
        assert f'<script id="bb-config" nonce="{nonce}">'.encode() in answer.body  # type: ignore[attr-defined]
        nonces.add(nonce)
    assert len(nonces) == 3


def test_the_pages_work_in_a_browser(master: Master, chromium: str) -> None:
    home = page_text(chromium, f"http://127.0.0.1:{master.www_port}/")
    assert "Welcome to buildbot" in home
    # What stands in the title is text, and its script has no nonce.
    assert "<title>struck" not in home
    builders = page_text(chromium, f"http://127.0.0.1:{master.www_port}/#/builders")
    assert "idle" in builders
    apps = page_text(chromium, f"http://127.0.0.1:{master.www_port}/#/apps")
    assert "no app was built yet" in apps


def test_no_script_reads_the_cookie_of_a_login_and_no_wire_has_it(master: Master) -> None:
    answer = login(master, "pass")
    assert answer.status == 302
    cookies = answer.headers.get_all("Set-Cookie")
    assert cookies
    for cookie in cookies:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes


def test_passwords_are_guessed_slowly(master: Master) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(60) as threads:
        statuses = list(threads.map(lambda n: login(master, f"guess{n}").status, range(60)))
    assert set(statuses) == {401}
    # Ten were looked at, and took their time; a right one is looked at as soon as they are over.
    assert time.monotonic() - began >= 2
    assert login(master, "pass").status == 302
