# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Buildbot master for a test: start it, ask it, reconfigure it, stop it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"

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
}}
"""


def free_port() -> int:
    """A port of loopback that nobody had a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(what: str, probe: Callable[[], T], seconds: float = 30) -> T:
    """What `probe` gives once it gives something true."""
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)
    return found


class Master:
    """A master in `basedir` whose configuration is `config` (after PREAMBLE), or is `configfile`.

    WWW_PORT and PB_PORT in the text become free ports. With `isolated` it runs in a network of
    its own, where there is only loopback, and is asked from within: that needs root.
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
        start_seconds: float = 60,
    ) -> None:
        self.basedir = basedir
        self.www_port = www_port or free_port()
        self.pb_port = free_port()
        self.isolated = isolated
        self.start_seconds = start_seconds
        self.env = {**os.environ, **NO_INTERNET, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        bindir = Path(sys.executable).parent
        self._buildbot = str(bindir / "buildbot")
        command = [self._buildbot, "create-master", "-q", str(basedir)]
        if configfile is not None:
            command[3:3] = ["--config", str(configfile)]
        subprocess.run(command, check=True, timeout=120, env=self.env, stdout=subprocess.DEVNULL)
        if config is not None:
            self.write(config)

    def write(self, config: str) -> None:
        """Lay down another configuration, for the next start or reconfig."""
        text = (PREAMBLE + config).replace("WWW_PORT", str(self.www_port))
        (self.basedir / "master.cfg").write_text(text.replace("PB_PORT", str(self.pb_port)))

    def log(self) -> str:
        """The whole of twistd.log so far."""
        path = self.basedir / "twistd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Master:
        """Start, and wait until the web page answers."""
        command = [self._buildbot, "start", "--nodaemon", str(self.basedir)]
        if self.isolated:
            if os.geteuid() != 0 or shutil.which("unshare") is None:
                raise AssertionError("isolated=True needs root and unshare")
            command = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "-", *command]
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        self._wait("the master to start", lambda: "BuildMaster is running" in self.log())
        self._wait("the web page", lambda: self.rest("masters"))
        return self

    def _wait(self, what: str, probe: Callable[[], Any]) -> None:
        def alive_and() -> Any:
            assert self.process is not None
            if self.process.poll() is not None:
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
        url = f"http://127.0.0.1:{self.www_port}/api/v2/{path}"
        if self.isolated:
            assert self.process is not None
            inside = ["nsenter", "-n", "-t", str(self.process.pid), sys.executable, "-c"]
            code = (
                f"import urllib.request as u; print(u.urlopen({url!r}, timeout=20).read().decode())"
            )
            done = subprocess.run(
                [*inside, code], capture_output=True, timeout=30, env={"PATH": os.environ["PATH"]}
            )
            if done.returncode:
                raise OSError(done.stderr.decode()[-500:])
            text = done.stdout.decode()
        else:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=20) as response:
                text = response.read().decode()
        answer = json.loads(text)
        assert isinstance(answer, dict)
        return answer

    def reconfig(self, config: str | None = None, seconds: float = 60) -> str:
        """Load the configuration anew; what the log said about it. Fails if it was refused."""
        if config is not None:
            self.write(config)
        assert self.process is not None
        before = len(self.log())
        self.process.send_signal(signal.SIGHUP)
        ends = ("configuration update complete", "configuration update aborted", "keep using the")

        def said() -> str:
            text = self.log()[before:]
            return text if any(end in text for end in ends) else ""

        text = wait_for("the reconfig", said, seconds)
        assert ends[0] in text, text[-4000:]
        return text

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Stop, by force if it must be."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

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
