# SPDX-License-Identifier: GPL-2.0-or-later
"""What a killed master was asking ends with it: real masters, and a server that is silent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from masters import PATIENCE, TEMPLATES, Master

APP = (
    'AppGitPoller("app.one", repourl="URL", tags="", pollInterval=1, allow_protocol="http",'
    " timeout=3600)"
)
FDROIDDATA = 'changes.GitPoller("URL", pollInterval=3600, pollAtLaunch=True)'

TIE = [sys.executable, "-I", "-S", str(TEMPLATES / "fdroid_bb/common/tie.py"), str(os.getpid())]


@pytest.mark.parametrize("poller", [APP, FDROIDDATA], ids=["app", "fdroiddata"])
def test_git_and_its_helpers_end_with_a_killed_master(tmp_path: Path, poller: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        config = f'c["change_source"] = [{poller.replace("URL", url)}]'
        with Master(tmp_path / "master", config) as master:
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(PATIENCE)
                assert connection.recv(65536).startswith(b"GET /x.git")
                master.kill()
                # The kernel closes it when the last of git has ended.
                assert connection.recv(1) == b""


def test_a_command_ends_as_it_ends() -> None:
    def status(*command: str) -> int:
        return subprocess.run([*TIE, *command], capture_output=True, timeout=PATIENCE).returncode

    assert status("true") == 0
    assert status("sh", "-c", "exit 7") == 7
    assert status("sh", "-c", "kill -9 $$") == -signal.SIGKILL
    assert status("no-such-program") == 127


def test_a_polite_signal_is_for_the_command() -> None:
    script = "trap 'echo tidied; exit 3' TERM; echo ready; sleep 600 & wait"
    with subprocess.Popen([*TIE, "sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.readline() == "tidied\n"
        assert process.wait(PATIENCE) == 3


def test_it_starts_nothing_for_a_master_that_has_ended() -> None:
    command = [*TIE[:-1], "1", "echo", "started"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, b"")
