# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on the machine of the master end with it, in a real master that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from masters import PATIENCE, TEMPLATES, Master, wait_for

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)

# It says that it has begun, and whether it was alone. Its session is its own, it refuses to be
# ended, and it holds nothing of its parent's open.
GRANDCHILD = """\
import fcntl, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = open("FOLDER/lock", "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open("FOLDER/together", "a").close()
with open("FOLDER/begun", "a") as file:
    file.write(f"{os.getpid()}\\n")
while not os.path.exists("FOLDER/gate"):
    time.sleep(0.05)
"""

PARENT = """\
import subprocess, sys
child = subprocess.Popen([sys.executable, "FOLDER/grandchild.py"], start_new_session=True)
sys.exit(child.wait())
"""

CONFIG = """
import sys
from buildbot.util.runprocess import RunProcess

# Buildbot ends a command of the master after 300 seconds of silence; here after one.
defaults = [1 if value == 300 else value for value in RunProcess.__init__.__defaults__]
assert 1 in defaults
RunProcess.__init__.__defaults__ = tuple(defaults)

c["workers"] = [worker.LocalWorker("one"), worker.LocalWorker("two")]
command = [sys.executable, "FOLDER/parent.py"]
c["builders"] = [
    util.BuilderConfig(name="master", workernames=["one"], factory=util.BuildFactory([
        RunOnMaster(name="run", command=command, limit=600),
    ])),
    util.BuilderConfig(name="worker", workernames=["two"], factory=util.BuildFactory([
        steps.ShellCommand(name="run", command=command, logEnviron=False),
    ])),
    util.BuilderConfig(name="mode", workernames=["one"], factory=util.BuildFactory([
        RunOnMaster(name="run", command=["sh", "-c", "echo a > a; mkdir b; umask"], limit=60),
        steps.ShellCommand(name="local", command=["sh", "-c", "umask"], logEnviron=False),
    ])),
    util.BuilderConfig(name="ends", workernames=["one"], factory=util.BuildFactory([
        RunOnMaster(name="status", command=["sh", "-c", "exit 7"], limit=60, haltOnFailure=False),
        RunOnMaster(name="signal", command=["sh", "-c", "kill -9 $$"], limit=60,
                    haltOnFailure=False),
        RunOnMaster(name="missing", command=["no-such-program"], limit=60, haltOnFailure=False),
        RunOnMaster(name="folder", command=["true"], folder="no-such", limit=60,
                    haltOnFailure=False),
        RunOnMaster(name="slow", command=["sh", "-c", "sleep 600 & wait"], limit=1,
                    haltOnFailure=False),
        RunOnMaster(name="quiet", command=["sleep", "3"], limit=60),
        RunOnMaster(name="env", command=["sh", "-c", "echo $A"], env={"A": "x${B}y"}, limit=60),
    ])),
]
c["schedulers"] = [schedulers.ForceScheduler(
    name="force", builderNames=["master", "worker", "mode", "ends"])]
"""


class World:
    """A master, and what its commands do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("parent", PARENT), ("grandchild", GRANDCHILD)):
            (folder / f"{name}.py").write_text(text.replace("FOLDER", str(folder)))
        config = CONFIG.replace("FOLDER", str(folder))
        self.master = Master(folder / "master", config, env={"B": "b"})

    def begun(self, count: int) -> int:
        """The process of the last grandchild, once there were `count`."""

        def pids() -> list[str]:
            path = self.folder / "begun"
            found = path.read_text().splitlines() if path.exists() else []
            return found if len(found) >= count else []

        found = wait_for(f"command {count}", pids)
        assert len(found) == count
        return int(found[-1])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.master:
        yield world


@pytest.mark.parametrize("kind", ["master", "worker"])
def test_after_a_crash_no_command_runs_beside_one_of_before(world: World, kind: str) -> None:
    master = world.master
    master.force("force", kind)
    first = world.begun(1)
    master.kill()
    # The next one does it again, although this one would never end by itself.
    master.start()
    second = world.begun(2)
    assert not Path(f"/proc/{first}").exists()
    assert Path(f"/proc/{second}").exists()
    (world.folder / "gate").touch()
    builds = master.builds(kind, 2)
    assert builds[-1]["results"] == SUCCESS, master.steps(builds[-1])
    assert not (world.folder / "together").exists()


@pytest.mark.parametrize("kind", ["master", "worker"])
def test_a_stopped_command_has_ended_when_its_step_has(world: World, kind: str) -> None:
    master = world.master
    master.force("force", kind)
    pid = world.begun(1)
    [running] = master.rest("builds?complete=false")["builds"]
    body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "enough"}}'
    headers = {"Content-Type": "application/json"}
    master.ask("POST", f"/api/v2/builds/{running['buildid']}", body, headers)
    [build] = master.builds(kind, 1)
    assert build["results"] == CANCELLED
    assert not Path(f"/proc/{pid}").exists()


def test_others_can_read_what_commands_write(world: World) -> None:
    world.master.force("force", "mode")
    [build] = world.master.builds("mode", 1)
    steps = world.master.steps(build)
    assert "0022\n" in steps["run"]["text"]
    assert "0022\n" in steps["local"]["text"]
    assert (world.master.output / "a").stat().st_mode & 0o777 == 0o644
    assert (world.master.output / "b").stat().st_mode & 0o777 == 0o755


def test_how_a_command_ends_is_told(world: World) -> None:
    world.master.force("force", "ends")
    [build] = world.master.builds("ends", 1, 60)
    steps = world.master.steps(build)
    assert build["results"] == FAILURE
    said = {
        "status": "exit status 7\n",
        "signal": "killed by signal",
        "missing": "no-such-program: No such file or directory\n",
        "folder": "there is no folder",
        "slow": "1 seconds elapsed",
        "env": "xby\n",
        "quiet": "sleep 3\n",
    }
    for name, words in said.items():
        assert words in steps[name]["text"], steps[name]
        assert steps[name]["results"] == (SUCCESS if name in ("env", "quiet") else FAILURE)


def supervise(folder: Path, run: str, *command: str) -> list[str]:
    """The command line, as a child of this process."""
    script = str(TEMPLATES / "fdroid_bb/steps/supervise.py")
    return ["python3", "-I", "-S", script, str(folder), run, str(os.getpid()), *command]


def test_a_later_run_waits_and_one_whose_master_is_gone_does_nothing(tmp_path: Path) -> None:
    locks, told = tmp_path / "locks", tmp_path / "told"
    locks.mkdir()
    runs = tmp_path / "runs"
    script = f"touch {runs}; exec sleep 600"
    first = subprocess.Popen(supervise(locks, "first", "sh", "-c", script))
    wait_for("the first command", runs.exists)
    # The one that asks is not who should be its parent.
    script = " ".join(supervise(locks, "first", "touch", str(told)))
    done = subprocess.run(["sh", "-c", f"{script}; exit $?"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the master has ended" in done.stderr
    assert not told.exists()
    command = supervise(locks, "second", "touch", str(told))
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert second.stderr is not None
    assert "waiting for the commands" in second.stderr.readline()
    assert not told.exists()
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == -signal.SIGTERM
    assert second.wait(PATIENCE) == 0
    assert told.exists()
    assert [path.name for path in locks.iterdir()] == ["second"]


def test_what_is_left_behind_on_purpose_lives_on(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sleep 600 >/dev/null 2>&1 & echo $! > {pid}"
    subprocess.run(supervise(tmp_path, "run", "sh", "-c", script), check=True, timeout=PATIENCE)
    left = int(pid.read_text())
    os.kill(left, signal.SIGKILL)
