# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Buildbot master for a test: start it, ask it, reconfigure it, stop it."""

from __future__ import annotations

import atexit
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from buildbot.scripts.stop import stop as buildbot_stop

import reaper
from ask import Answer, ask

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
_HERE = Path(__file__).resolve().parent

# What Buildbot says of a build that it tries again.
RETRY = 5

# A proxy that refuses everything: what a test does not serve itself, it cannot reach.
_NOWHERE = "http://127.0.0.1:9"
NO_INTERNET = {
    "http_proxy": _NOWHERE,
    "https_proxy": _NOWHERE,
    "HTTPS_PROXY": _NOWHERE,
    "ALL_PROXY": _NOWHERE,
    "no_proxy": "127.0.0.1,localhost",
    "NO_PROXY": "127.0.0.1,localhost",
}

# Every configuration of a test begins with this.
PREAMBLE = f"""\
import sys
sys.path.insert(0, {str(TEMPLATES)!r})
from buildbot.plugins import *
from fdroid_bb import *

c = BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "buildbotURL": "http://127.0.0.1:WWW_PORT/",
    "db_url": "sqlite:///state.sqlite",
    "protocols": {{"pb": {{"port": "tcp:PB_PORT:interface=127.0.0.1"}}}},
    "www": {{"port": "tcp:WWW_PORT:interface=127.0.0.1"}},
    "workers": [worker.Worker("idle", "pass")],
    "builders": [
        util.BuilderConfig(name="idle", workernames=["idle"], factory=util.BuildFactory())
    ],
    "schedulers": [schedulers.ForceScheduler(name="force", builderNames=["idle"])],
    "services": [Output("../public/MASTER_NAME")],
}}
"""


@cache
def _created() -> Path:
    """What `buildbot create-master` makes, for all masters of this process: most of its work is the
    empty database.
    """
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    made = Path(folder.name, "master")
    buildbot = Path(sys.executable).parent / "buildbot"
    command = [str(buildbot), "create-master", "-q", str(made)]
    subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    return made


def corpus_folder() -> Path:
    """Where real fdroiddata is, if it is on this machine."""
    return Path(os.environ.get("FDROID_BB_CORPUS", ROOT.parent / "shared/corpus"))


def free_port() -> int:
    """A port of loopback that nobody had a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Several, no two alike."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in held]
    for s in held:
        s.close()
    return ports


def put_secrets(basedir: Path, secrets: Mapping[str, str]) -> None:
    """Lay down what a master reads from its folder of secrets."""
    folder = basedir / "secrets"
    folder.mkdir(parents=True, mode=0o700)
    for key, value in secrets.items():
        (folder / key).touch(mode=0o600)
        (folder / key).write_text(f"{value}\n")


# Seconds in which even a very busy machine does what is waited for. What hangs costs that much.
PATIENCE = 900


def wait_for(what: str, probe: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `probe` gives once it gives something true.

    Less than PATIENCE is not waited: that it happens sooner is for a test to assert. What takes
    long is asked for less often, for to answer costs a master time that others need.
    """
    seconds = max(seconds, PATIENCE)
    began = time.monotonic()
    while not (found := probe()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(min(max(0.05, waited / 20), 0.5))
    return found


def ended(builds: Callable[[], Sequence[dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """The first of these builds that is complete and is not tried again."""

    def found() -> dict[str, Any] | None:
        complete = (build for build in builds() if build["complete"])
        return next((build for build in complete if build["results"] != RETRY), None)

    build = wait_for("a build that is not tried again", found, seconds)
    assert build is not None
    return build


def apart(command: Sequence[str], addresses: Sequence[str] = ()) -> list[str]:
    """The command, to run in a network of its own, where there is only loopback."""
    if shutil.which("unshare") is None:
        raise AssertionError("a network of its own needs unshare")
    isolate = [sys.executable, str(_HERE / "isolate.py"), *addresses, "--"]
    return ["unshare", "-n" if os.geteuid() == 0 else "-rn", *isolate, *command]


def inside(pid: int, command: Sequence[str]) -> list[str]:
    """The command, to run in the network of a process."""
    flags = ["-n"] if os.geteuid() == 0 else ["-U", "--preserve-credentials", "-n"]
    return ["nsenter", *flags, "-t", str(pid), *command]


def ask_inside(pid: int, *args: Any) -> Answer:
    """What a web server in the network of a process answers to `ask(*args)`."""
    done = subprocess.run(
        inside(pid, [sys.executable, "-I", "-S", str(_HERE / "ask.py")]),
        input=json.dumps(args).encode(),
        capture_output=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        raise OSError(done.stderr.decode()[-500:])
    status, found, text = json.loads(done.stdout)
    return Answer(status, [(key, value) for key, value in found], text)


class Master:
    """A master in `basedir` whose configuration is `config` (after PREAMBLE), or is `configfile`.

    WWW_PORT and PB_PORT in the text become free ports. With `isolated` it runs in a network of
    its own, where there is only loopback, and is asked from within: that needs root, or a kernel
    that lets others have such networks. `addresses` are more ones that loopback has there.
    """

    def __init__(
        self,
        basedir: Path,
        config: str | None = None,
        *,
        configfile: Path | None = None,
        www_port: int | None = None,
        env: Mapping[str, str] | None = None,
        isolated: bool = False,
        addresses: Sequence[str] = (),
        start_seconds: float = PATIENCE,
    ) -> None:
        self.basedir = basedir
        self.www_port = www_port or free_port()
        self.pb_port = free_port()
        self.isolated = isolated
        self.addresses = addresses
        self.start_seconds = start_seconds
        self.env = {**os.environ, **NO_INTERNET, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        bindir = Path(sys.executable).parent
        self._buildbot = str(bindir / "buildbot")
        self._configfile = configfile or basedir / "master.cfg"
        basedir.mkdir(mode=0o700, parents=True, exist_ok=True)
        named = {"'master.cfg'": configfile or "master.cfg", repr(str(_created())): basedir}
        for file in _created().iterdir():
            if not (basedir / file.name).exists():
                shutil.copy(file, basedir)
        tac = basedir / "buildbot.tac"
        for name, value in named.items():
            tac.write_text(tac.read_text().replace(name, repr(str(value))))
        basedir.chmod(0o700)
        if config is not None:
            self.write(config)

    def write(self, config: str) -> None:
        """Lay down another configuration, for the next start or reconfig."""
        text = (PREAMBLE + config).replace("WWW_PORT", str(self.www_port))
        text = text.replace("MASTER_NAME", self.basedir.name)
        (self.basedir / "master.cfg").write_text(text.replace("PB_PORT", str(self.pb_port)))

    @property
    def output(self) -> Path:
        """The folder that other users may read."""
        found = re.search(r'\bOutput\("([^"]+)"\)', self._configfile.read_text())
        assert found is not None
        return Path(os.path.normpath(self.basedir / found[1]))

    def log(self) -> str:
        """The whole of twistd.log so far."""
        path = self.basedir / "twistd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *, foreground: bool = False) -> Master:
        """Start, and wait until the web page answers.

        It is a daemon, as the README starts it, or in the `foreground` a child of the test, as it
        would be a service manager's.
        """
        reaper.watch(self.basedir)
        before = len(self.log())
        if foreground:
            command = self._apart([self._buildbot, "start", "--nodaemon", str(self.basedir)])
            self.process = subprocess.Popen(
                command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
            )
            self._wait("the master", lambda: "BuildMaster is running" in self.log()[before:])
        else:
            self._start_daemon()
        self._wait("the web page", lambda: self.rest("masters"))
        return self

    def _start_daemon(self) -> None:
        seconds = f"--start_timeout={self.start_seconds:g}"
        command = self._apart([self._buildbot, "start", seconds, str(self.basedir)])
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=2 * self.start_seconds
        )
        if done.returncode:
            self.stop()
            said = (
                f"{done.stdout[-4000:]}{done.stderr[-4000:]}\n--- twistd.log\n{self.log()[-4000:]}"
            )
            raise AssertionError(f"buildbot start ended with {done.returncode}\n{said}")

    def _apart(self, command: list[str]) -> list[str]:
        """The command, in a network of its own if that is wanted. A daemon keeps it."""
        return apart(command, self.addresses) if self.isolated else command

    def pid(self) -> int:
        """Its process. ProcessLookupError if it does not run."""
        if self.process is not None:
            pid = self.process.pid
        else:
            try:
                pid = int((self.basedir / "twistd.pid").read_text())
            except FileNotFoundError as e:
                raise ProcessLookupError(f"there is no {e.filename}") from e
        if reaper.works_in(pid) != self.basedir.resolve():
            raise ProcessLookupError(f"no master is {pid}")
        return pid

    def runs(self) -> bool:
        """Whether its process is there."""
        try:
            return bool(self.pid())
        except ProcessLookupError:
            return False

    def _wait(self, what: str, probe: Callable[[], Any]) -> None:
        def alive_and() -> Any:
            # A service manager's child is in its base directory a moment after it was started.
            gone = not self.runs() if self.process is None else self.process.poll() is not None
            if gone:
                raise AssertionError(f"the master ended while waiting for {what}")
            try:
                return probe()
            except OSError:
                return None

        try:
            wait_for(what, alive_and, self.start_seconds)
        except AssertionError as e:
            self.stop()
            raise AssertionError(f"{e}\n--- twistd.log\n{self.log()[-4000:]}") from e

    def rest(self, path: str) -> dict[str, Any]:
        """What /api/v2/`path` answers."""
        answer = self.ask("GET", f"/api/v2/{path}")
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status} {answer.text[:500]}")
        found = json.loads(answer.text)
        assert isinstance(found, dict)
        return found

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command, run in the master's network."""
        return inside(self.pid(), command) if self.isolated else list(command)

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """What its web server answers. OSError if it does not."""
        args = (self.www_port, method, path, body, dict(headers or {}))
        return ask_inside(self.pid(), *args) if self.isolated else ask(*args)

    def login(self, user: str, password: str) -> dict[str, str]:
        """The headers of somebody logged in. PermissionError if the master says no."""
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        answer = self.ask("GET", "/auth/login", headers={"Authorization": f"Basic {basic}"})
        if answer.status not in (200, 302):
            raise PermissionError(f"{answer.status} {answer.text[:500]}")
        cookies = [v.split(";")[0] for k, v in answer.headers if k.lower() == "set-cookie"]
        return {"Cookie": "; ".join(cookies)}

    def force(
        self, scheduler: str, builder: str, who: Mapping[str, str] | None = None, **values: Any
    ) -> Answer:
        """Press a button; `who` are the headers of `login`."""
        params = {"builderid": self.builderid(builder), **values}
        body = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": params}
        path = f"/api/v2/forceschedulers/{scheduler}"
        headers = {"Content-Type": "application/json", **(who or {})}
        return self.ask("POST", path, json.dumps(body), headers)

    def builderid(self, builder: str) -> int:
        """The number of a builder."""
        found = self.rest(f"builders?name={builder}")["builders"]
        assert len(found) == 1, f"{builder}: {found}"
        return int(found[0]["builderid"])

    def builds(self, builder: str, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """The builds of a builder, with their properties, once `count` are complete."""
        path = f"builders/{self.builderid(builder)}/builds?property=*&order=number"

        def complete() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.rest(path)["builds"]
            done = len(found) >= count and all(build["complete"] for build in found)
            return found if done else []

        return wait_for(f"{count} builds of {builder}", complete, seconds)

    def steps(self, build: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The steps of a build by name, each with the text of its logs as `text`."""
        steps: dict[str, dict[str, Any]] = {}
        for step in self.rest(f"builds/{build['buildid']}/steps")["steps"]:
            logs = self.rest(f"steps/{step['stepid']}/logs")["logs"]
            paths = [f"/api/v2/logs/{log['logid']}/raw_inline" for log in logs]
            text = "".join(self.ask("GET", path).text for path in paths)
            steps[step["name"]] = {**step, "text": text}
        return steps

    def reconfig(self, config: str | None = None, seconds: float = 60) -> str:
        """Load the configuration anew; what the log said about it. Fails if it was refused."""
        if config is not None:
            self.write(config)
        before = len(self.log())
        os.kill(self.pid(), signal.SIGHUP)
        ends = ("configuration update complete", "configuration update aborted", "keep using the")

        def said() -> str:
            text = self.log()[before:]
            return text if any(end in text for end in ends) else ""

        text = wait_for("the reconfig", said, seconds)
        assert ends[0] in text, text[-4000:]
        return text

    def kill(self) -> None:
        """End it as a crash would."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        assert self._ended(pid, PATIENCE), "a killed master is still there"

    def stop(self) -> None:
        """Stop, by force if it must be."""
        if self.process is not None:
            pid = self.process.pid
            self.process.terminate()
        elif self.runs():
            pid = self.pid()
            # `buildbot stop`, without the second that it waits at least.
            config = {"basedir": str(self.basedir), "quiet": True, "clean": False}
            assert buildbot_stop(config, wait=False) == 0
        else:
            return
        if not self._ended(pid, 30):
            self.kill()

    def _ended(self, pid: int, seconds: float) -> bool:
        """Wait until nothing is left of it: `buildbot start` refuses to start beside a process
        that has ended and whose exit status nobody has read yet, and says so to nobody.
        """
        end = time.monotonic() + seconds
        while Path(f"/proc/{pid}").exists():
            if self.process is not None and self.process.poll() is not None:
                break
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        self.process = None
        return True

    def __enter__(self) -> Master:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if error is not None and hasattr(error, "add_note"):
            error.add_note(f"--- twistd.log\n{self.log()[-4000:]}")
