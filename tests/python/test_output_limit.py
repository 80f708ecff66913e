# SPDX-License-Identifier: GPL-2.0-or-later
"""A command that prints without end, on a worker of another machine that does as it is told and on
one that does not.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reaper
from masters import PATIENCE, Master, wait_for

FAILURE = 2
LIMIT = 2 << 20

CONFIG = f"""
c["logMaxSize"] = {LIMIT}
c["workers"].append(worker.Worker("far", "pass"))
c["builders"].append(util.BuilderConfig(name="flood", workernames=["far"],
    factory=util.BuildFactory([
        Run(name="flood", command=["sh", "-c", util.Interpolate("%(prop:script)s")],
            haltOnFailure=True, logEnviron=False, timeout=None),
        steps.ShellCommand(name="after", command=["true"]),
    ])))
c["schedulers"].append(schedulers.ForceScheduler(name="flood", builderNames=["flood"],
    properties=[util.StringParameter(name="script")]))
"""

# Buildbot's worker, but that it goes on with a command that it was told to end.
DEAF = """
from buildbot_worker import runprocess
runprocess.RunProcess.kill = lambda self, msg: None
import sys
from buildbot_worker.scripts.runner import run
sys.argv[0] = "buildbot-worker"
run()
"""


@contextlib.contextmanager
def worker(master: Master, folder: Path, *, deaf: bool) -> Iterator[None]:
    program = str(Path(sys.executable).parent / "buildbot-worker")
    address = f"127.0.0.1:{master.pb_port}"
    create = [program, "create-worker", "--quiet", str(folder), address, "far", "pass"]
    subprocess.run(create, check=True, timeout=PATIENCE)
    reaper.watch(folder)
    start = [sys.executable, "-c", DEAF] if deaf else [program]
    process = subprocess.Popen(
        [*start, "start", "--nodaemon", str(folder)], env=master.env, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait(PATIENCE)


def memory(master: Master) -> int:
    """What the master has in memory, in bytes."""
    pid = int((master.basedir / "twistd.pid").read_text())
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no memory")


def flood(master: Master, script: str) -> tuple[dict[str, Any], str]:
    count = len(master.rest(f"builders/{master.builderid('flood')}/builds")["builds"])
    master.force("flood", "flood", script=script)
    build = master.builds("flood", count + 1)[-1]
    return build, master.steps(build)["flood"]["text"]


def test_what_a_command_prints_has_an_end(tmp_path: Path) -> None:
    with Master(tmp_path / "master", CONFIG) as master:
        with worker(master, tmp_path / "good", deaf=False):
            build, said = flood(master, "yes 'a line that is printed without end'")
            assert build["results"] == FAILURE
            words = (
                f"more than {LIMIT} characters of output: the rest is cut, and the command ended"
            )
            assert words in said
            # Its lines have a letter more each, and Buildbot says something of its own.
            assert len(said) < 1.2 * LIMIT
            # One endless line is no way round it, nor is the other stream.
            build, said = flood(master, "tr '\\\\0' x < /dev/zero >&2")
            assert build["results"] == FAILURE
            assert words in said
            assert len(said) < 1.2 * LIMIT
            # What is within the limit is whole.
            build, said = flood(master, f"head -c {LIMIT - 100} /dev/zero | tr '\\\\0' '\\\\n'")
            assert build["results"] == 0
            assert words not in said
        wait_for("the worker to go", lambda: not connected(master))
        with worker(master, tmp_path / "deaf", deaf=True):
            before = memory(master)
            build, said = flood(master, "yes 'a line that is printed without end'")
            assert build["results"] == FAILURE
            assert words in said
            # It sends on, which costs nothing any more.
            assert master.rest("builders")["builders"]
            assert memory(master) - before < 100 << 20
        assert "Unhandled" not in master.log()


def connected(master: Master) -> bool:
    workers = master.rest("workers?name=far")["workers"]
    return any(worker["connected_to"] for worker in workers)
