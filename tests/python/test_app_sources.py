# SPDX-License-Identifier: GPL-2.0-or-later
"""What pollers share: calls, hosts, turns that were missed, and the list of what fails.

Real masters, git and servers. What takes hours is in test_polling.py.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from conftest import Counted
from fdroid_bb.common import placement
from masters import PATIENCE, Master, wait_for
from repositories import Server

# What takes minutes takes seconds here.
HURRY = """
from fdroid_bb.polling import hosts, sources
hosts.FIRST_PAUSE = 1
hosts.LONGEST_PAUSE_AT_LEAST = 2
sources._HEARTBEAT = 1
"""

Pollers = dict[str, dict[str, Any]]


def config(pollers: Pollers, more: str = "") -> str:
    """A master with these pollers, by application id."""
    lines = []
    for app_id, given in pollers.items():
        arguments = {"tags": "", "pollInterval": 1, "allow_protocol": "http", **given}
        lines.append(f"    AppGitPoller({app_id!r}, **{arguments!r}),\n")
    return f'{HURRY}{more}c["change_source"] = [\n{"".join(lines)}]\n'


def changes(master: Master) -> list[tuple[str, str]]:
    """All so far: application ids and refs."""
    found = sorted(master.rest("changes")["changes"], key=lambda change: int(change["changeid"]))
    return [(change["project"], change["branch"]) for change in found]


def polls(git: Counted, url: str) -> int:
    """How many times git was started for a URL."""
    return sum(line.endswith(url) for line in git.lines())


def two_more(git: Counted, *urls: str) -> None:
    """Wait until each URL has had a whole poll after now."""
    enough = {url: polls(git, url) + 2 for url in urls}
    wait_for("polls", lambda: all(polls(git, url) >= n for url, n in enough.items()))


def waits(url: str) -> bool:
    """Whether one and the same git waits for an answer from a URL for a second."""

    def running() -> set[str]:
        command = ["pgrep", "-f", f"git .*ls-remote .*{re.escape(url)}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        return set(done.stdout.split())

    before = running()
    time.sleep(1)
    return bool(before & running())


def listed(master: Master) -> dict[str, Any]:
    """The list of failures."""
    try:
        found = json.loads((master.output / "status/app-sources.json").read_text())
    except FileNotFoundError:
        return {"failing": [], "hosts_down": []}
    assert isinstance(found, dict)
    return found


def metric(master: Master, name: str) -> float | None:
    """A number of the metrics, if it is there."""
    path = master.output / "metrics/app-sources.prom"
    if not path.exists():
        return None
    found = re.search(
        rf"^{re.escape('fdroid_bb_app_source_' + name)} (\S+)$", path.read_text(), re.M
    )
    return float(found[1]) if found else None


class Held:
    """A web server that answers nothing before it is told to, and counts who waits."""

    def __init__(self) -> None:
        held = self
        self.open = threading.Event()
        self.waiting = self.most = self.requests = 0
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with held._lock:
                    held.requests += 1
                    held.waiting += 1
                    held.most = max(held.most, held.waiting)
                held.open.wait(60)
                time.sleep(0.3)
                with held._lock:
                    held.waiting -= 1
                self.send_error(404)

            def log_message(self, *args: object) -> None:
                pass

        # All of loopback: a test makes several hosts of it.
        self.server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # noqa: S104
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def held() -> Iterator[Held]:
    server = Held()
    try:
        yield server
    finally:
        server.close()


def test_apps_of_one_repository_share_a_call_and_not_their_changes(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    suite = server.repository("suite.git")
    pollers: Pollers = {
        f"org.suite.{name}": {"repourl": suite.url, "tags": f"{name}-"} for name in "abcdef"
    }
    # Another ref of the same repository is another question.
    pollers["org.suite.branch"] = {"repourl": suite.url, "tags": None, "branch": "main"}
    with Master(tmp_path / "master", config(pollers), env=counted_git.env()) as master:
        two_more(counted_git, suite.url, f"{suite.url} refs/heads/main")
        suite.tag("a-1")
        suite.tag("c-1")
        wait_for("two changes", lambda: len(changes(master)) >= 2)
        assert sorted(changes(master)) == [("org.suite.a", "a-1"), ("org.suite.c", "c-1")]
        before = polls(counted_git, suite.url), polls(counted_git, f"{suite.url} refs/heads/main")
        two_more(counted_git, suite.url, f"{suite.url} refs/heads/main")
        after = polls(counted_git, suite.url), polls(counted_git, f"{suite.url} refs/heads/main")
        # Six apps are polled as often as the one with the branch.
        assert abs((after[0] - before[0]) - (after[1] - before[1])) <= 1
        # One of them goes: the others go on.
        del pollers["org.suite.a"]
        master.reconfig(config(pollers))
        two_more(counted_git, suite.url)
        suite.tag("a-2")
        suite.tag("f-2")
        wait_for("another change", lambda: len(changes(master)) >= 3)
        two_more(counted_git, suite.url)
        assert changes(master)[2:] == [("org.suite.f", "f-2")]
        assert "Traceback" not in master.log()


def test_a_host_that_is_down_is_left_alone_and_comes_back(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    good = server.repository("good.git")
    other = Server(tmp_path / "other")
    fallen = [other.repository(f"fallen{n}.git") for n in range(4)]
    pollers: Pollers = {f"org.fallen.n{n}": {"repourl": r.url} for n, r in enumerate(fallen)}
    pollers["org.good"] = {"repourl": good.url}
    urls = [r.url for r in fallen]
    with Master(tmp_path / "master", config(pollers), env=counted_git.env()) as master:
        two_more(counted_git, good.url, *urls)
        other.close()
        wait_for("the host to be down", lambda: f"127.0.0.1:{other.port} is down" in master.log())
        wait_for("the list", lambda: len(listed(master)["failing"]) >= 3)
        assert [h["host"] for h in listed(master)["hosts_down"]] == [f"127.0.0.1:{other.port}"]
        assert metric(master, "hosts_down") == 1
        before = sum(polls(counted_git, url) for url in urls)
        at = polls(counted_git, good.url)
        wait_for("polls of the good one", lambda: polls(counted_git, good.url) >= at + 6)
        # In the six seconds that the good one was polled each second, four repositories were
        # asked for by a probe or so in two seconds, not twenty-four times.
        assert sum(polls(counted_git, url) for url in urls) - before <= 6
        good.tag("v1")
        fallen[0].tag("v2")
        again = Server(tmp_path / "other", port=other.port)
        wait_for("both changes", lambda: len(changes(master)) >= 2)
        assert set(changes(master)) == {("org.good", "v1"), ("org.fallen.n0", "v2")}
        assert "answers again" in master.log()
        two_more(counted_git, *urls)
        wait_for("an empty list", lambda: not listed(master)["failing"])
        assert metric(master, "failing") == 0
        again.close()
        log = master.log()
    assert "Traceback" not in log
    assert "Unhandled" not in log


def test_few_polls_at_once_at_one_host_and_in_all(tmp_path: Path) -> None:
    with held() as one, held() as two:
        pollers: Pollers = {
            f"org.{name}.n{n}": {"repourl": f"http://127.0.0.1:{host.port}/{n}.git"}
            for name, host in (("one", one), ("two", two))
            for n in range(10)
        }
        with Master(tmp_path / "master", config(pollers)) as master:
            wait_for("polls that wait", lambda: one.waiting == two.waiting == 2)
            time.sleep(2)
            assert (one.most, two.most) == (2, 2)
            # Pages are answered while strangers' servers say nothing.
            assert master.rest("masters")
            one.open.set()
            two.open.set()
            wait_for("more polls", lambda: one.requests > 4 and two.requests > 4)
            assert (one.most, two.most) == (2, 2)
    with held() as many:
        # Twelve hosts by their names, one server.
        pollers = {
            f"org.many.n{n}": {"repourl": f"http://127.0.0.{n + 1}:{many.port}/x.git"}
            for n in range(12)
        }
        environment = {"no_proxy": "127.0.0.0/8", "NO_PROXY": "127.0.0.0/8"}
        with Master(tmp_path / "second", config(pollers), env=environment):
            wait_for("polls that wait", lambda: many.waiting == 8)
            time.sleep(2)
            assert many.most == 8


def test_a_dead_repository_is_listed_also_by_the_next_run(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    alive = server.repository("alive.git")
    gone = f"http://127.0.0.1:{server.port}/gone.git"
    pollers: Pollers = {
        "org.alive": {"repourl": alive.url},
        "org.gone.a": {"repourl": gone},
        "org.gone.b": {"repourl": gone, "tags": "v"},
    }

    def dead() -> list[dict[str, Any]]:
        return [entry for entry in listed(master)["failing"] if entry["dead"]]

    with Master(tmp_path / "master", config(pollers), env=counted_git.env()) as master:
        (found,) = wait_for("a dead repository", dead)
        assert found["repository"] == gone
        assert found["apps"] == ["org.gone.a", "org.gone.b"]
        assert "not found" in found["why"]
        assert (metric(master, "dead"), metric(master, "apps")) == (1, 3)
        assert metric(master, "repositories") == 2
        assert (metric(master, 'polls_total{result="failure"}') or 0) >= 3
        wait_for("a word in the log", lambda: f"{gone} is dead" in master.log())
        master.kill()
        lines = master.log().count(f"{gone} (org.gone.a, org.gone.b) failed")
        assert lines == 1, "one line when it begins to fail, not one for each poll"
        (master.output / "status/app-sources.json").unlink()
        master.start()
        (again,) = wait_for("the dead repository", dead)
        assert again["since"] == found["since"]
        assert again["polls"] >= found["polls"]
        server.repository("gone.git")
        wait_for("it to come back", lambda: not listed(master)["failing"])
        assert "Traceback" not in master.log()


def test_a_turn_that_a_restart_swallowed_is_made_up_for(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    repo = server.repository("swallowed.git")
    later = server.repository("later.git")
    interval = 7 * 24 * 3600
    soon = "hosts.SLOWEST_CATCH_UP = 1\n"

    def place(name: str) -> int:
        return placement.place(name, interval)

    def due(seconds: int) -> str:
        """An app whose turn comes that many seconds from now, or a few more."""
        now = int(time.time())
        names = (f"org.swallowed.n{n}" for n in range(2_000_000))
        return next(name for name in names if 0 <= (place(name) - now) % interval - seconds <= 9)

    # Its turn comes while the master is down, and the next one a week later.
    pollers: Pollers = {due(interval // 2): {"repourl": later.url, "pollInterval": interval}}
    with Master(tmp_path / "master", config(pollers, soon), env=counted_git.env()) as master:
        wait_for("a sign of life", lambda: (master.output / "status/app-sources.json").exists())
        master.kill()
        app_id = due(1)
        turn = placement.next_turn(app_id, interval, int(time.time()) - 1)
        pollers[app_id] = {"repourl": repo.url, "pollInterval": interval}
        master.write(config(pollers, soon))
        time.sleep(max(0, turn + 1 - time.time()))
        master.start()
        wait_for("the poll", lambda: polls(counted_git, repo.url) == 1)
        assert polls(counted_git, later.url) == 0, "that one had missed no turn"


def test_a_reconfig_neither_waits_for_polls_nor_loses_them(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    repos = {name: server.repository(f"{name}.git") for name in ("still", "moving", "moved")}
    for repo in repos.values():
        # Without a tag a poll is two calls, and what comes between them waits for the next poll.
        repo.tag("v0")
    pollers: Pollers = {
        "org.still": {"repourl": repos["still"].url},
        "org.moving": {"repourl": repos["moving"].url},
    }
    with Master(tmp_path / "master", config(pollers), env=counted_git.env()) as master:
        two_more(counted_git, repos["still"].url, repos["moving"].url)
        # From now on turns come once an hour: what is polled was polled before.
        with server.quiet:
            wait_for("a poll that waits", lambda: waits(repos["still"].url))
            for name in ("still", "moving"):
                repos[name].tag("v1")
            pollers["org.still"]["pollInterval"] = 3600
            pollers["org.new"] = {"repourl": repos["moved"].url, "pollInterval": 3600}
            # It ends although no server answers.
            master.reconfig(config(pollers), seconds=20)
        wait_for("both changes", lambda: len(changes(master)) >= 2)
        assert set(changes(master)) == {("org.still", "v1"), ("org.moving", "v1")}
        # A poll of what is replaced is done at the new place, at once.
        with server.quiet:
            wait_for("a poll that waits", lambda: waits(repos["moving"].url))
            pollers["org.moving"] = {"repourl": repos["moved"].url, "pollInterval": 3600}
            master.reconfig(config(pollers), seconds=20)
        wait_for("the poll", lambda: polls(counted_git, repos["moved"].url) >= 1)
        assert "Traceback" not in master.log()


def test_a_dead_masters_apps_are_taken_over(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    repos = {f"org.shared.n{n}": server.repository(f"shared{n}.git") for n in range(6)}
    pollers: Pollers = {app_id: {"repourl": repo.url} for app_id, repo in repos.items()}
    # Buildbot looks each five minutes for services that nobody has, and each minute for masters
    # that are dead, which they are after ten minutes without a sign of life, given each minute.
    # Here that is a matter of seconds.
    hurry = """
c["multiMaster"] = True
from buildbot.data import masters as data_masters
from buildbot.util.service import ClusteredBuildbotService
ClusteredBuildbotService.POLL_INTERVAL_SEC = 1
data_masters.EXPIRE_MINUTES = 0.5
from twisted.application.internet import TimerService
start = TimerService.startService
def start_quickly(self):
    self.step = 1
    return start(self)
TimerService.startService = start_quickly
"""
    one = Master(tmp_path / "one", config(pollers, hurry), env=counted_git.env())
    two = Master(
        tmp_path / "two",
        config(pollers, hurry + f'c["db_url"] = "sqlite:////{tmp_path}/one/state.sqlite"\n'),
        env=counted_git.env(),
    )

    def owners() -> Counter[str]:
        with sqlite3.connect(one.basedir / "state.sqlite") as database:
            rows = database.execute(
                "SELECT m.name FROM changesource_masters c JOIN masters m ON m.id = c.masterid"
            ).fetchall()
        return Counter(Path(name.split(":")[-1]).name for (name,) in rows)

    with one:
        wait_for("the claims", lambda: owners() == {"one": 6})
        with two:
            two_more(counted_git, *(repo.url for repo in repos.values()))
            assert owners() == {"one": 6}
            repos["org.shared.n0"].tag("v1")
            wait_for("a change", lambda: changes(two))
            time.sleep(2)
            assert changes(two) == [("org.shared.n0", "v1")], "each app is polled by one"
            one.kill()
            wait_for("the apps to be taken over", lambda: owners() == {"two": 6}, 120)
            # It knows what the other had seen.
            two_more(counted_git, *(repo.url for repo in repos.values()))
            assert changes(two) == [("org.shared.n0", "v1")]
            repos["org.shared.n5"].tag("v2")
            wait_for("another change", lambda: len(changes(two)) == 2)


class Password(BaseHTTPRequestHandler):
    """Asks for a password."""

    def do_GET(self) -> None:
        """Say 401, and note what was told."""
        self.server.told.add(self.headers["Authorization"])  # type: ignore[attr-defined]
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="secret"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_nobody_is_asked_for_a_password_and_no_other_protocol_is_spoken(
    tmp_path: Path, server: Server
) -> None:
    private = ThreadingHTTPServer(("127.0.0.1", 0), Password)
    told: set[str | None] = set()
    private.told = told  # type: ignore[attr-defined]
    threading.Thread(target=private.serve_forever, daemon=True).start()
    plain = server.repository("plain.git")
    pollers: Pollers = {
        "org.private": {"repourl": f"http://127.0.0.1:{private.server_address[1]}/x.git"},
        "org.plain": {"repourl": plain.url, "allow_protocol": "https"},
        "org.local": {"repourl": str(plain.path)},
        "org.program": {"repourl": f"ext::touch {tmp_path}/ran"},
    }
    # Passwords that the master's user keeps are for nobody else's repositories.
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (home / ".git-credentials").write_text("http://me:secret@127.0.0.1\n")
    (home / ".gitconfig").write_text(
        '[credential]\nhelper = store\n[protocol "ext"]\nallow = always\n'
    )
    with Master(tmp_path / "master", config(pollers), env={"HOME": str(home)}) as master:
        wait_for("four failures", lambda: len(listed(master)["failing"]) == 4)
        why = {entry["apps"][0]: entry["why"] for entry in listed(master)["failing"]}
        assert "Authentication failed" in why["org.private"]
        # Nothing, and then an empty name with an empty password.
        assert told == {None, "Basic Og=="}
        assert "transport 'http' not allowed" in why["org.plain"]
        assert "transport 'file' not allowed" in why["org.local"]
        assert "transport 'ext' not allowed" in why["org.program"]
        assert not (tmp_path / "ran").exists()
    private.shutdown()
    private.server_close()


class Gigabytes(BaseHTTPRequestHandler):
    """Answers `git ls-remote` with tags without end."""

    def do_GET(self) -> None:
        """Send until the other side has enough."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.end_headers()

        def packet(text: str) -> bytes:
            return f"{len(text) + 4:04x}{text}".encode()

        zeros = "1" * 40
        self.wfile.write(packet("# service=git-upload-pack\n") + b"0000")
        self.wfile.write(packet(f"{zeros} HEAD\0symref=HEAD:refs/heads/main\n"))
        lines = b"".join(packet(f"{zeros} refs/tags/{'x' * 200}{n}\n") for n in range(1000))
        try:
            for _ in range(20_000):
                self.wfile.write(lines)
        except OSError:
            self.server.cut_off = True  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_a_server_that_answers_with_gigabytes_is_cut_off(
    tmp_path: Path, server: Server, counted_git: Counted
) -> None:
    good = server.repository("beside.git")
    endless = ThreadingHTTPServer(("127.0.0.1", 0), Gigabytes)
    endless.cut_off = False  # type: ignore[attr-defined]
    threading.Thread(target=endless.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{endless.server_address[1]}/x.git"
    pollers: Pollers = {"org.endless": {"repourl": url}, "org.beside": {"repourl": good.url}}
    with Master(tmp_path / "master", config(pollers), env=counted_git.env()) as master:
        status = Path(f"/proc/{master.pid()}/status")
        before = _resident(status)
        wait_for("it to fail", lambda: "(org.endless) failed" in master.log())
        wait_for("the server to notice", lambda: endless.cut_off)  # type: ignore[attr-defined]
        two_more(counted_git, good.url)
        assert _resident(status) - before < 64 * 1024
    endless.shutdown()
    endless.server_close()


def _resident(status: Path) -> int:
    """KiB."""
    found = re.search(r"^VmRSS:\s+(\d+)", status.read_text(), re.M)
    assert found is not None
    return int(found[1])
