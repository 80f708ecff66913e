# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers of another machine that do as they are told, and some that were written to misbehave."""

from __future__ import annotations

import contextlib
import re
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
MAX_TIME = 600
c["logMaxSize"] = {LIMIT}
c["workers"].append(worker.Worker("far", "pass"))
c["builders"].append(util.BuilderConfig(name="flood", workernames=["far"],
    factory=util.BuildFactory([
        Run(name="flood", command=["sh", "-c", util.Interpolate("%(prop:script)s")],
            haltOnFailure=True, logEnviron=False, timeout=None, maxTime=MAX_TIME),
        steps.ShellCommand(name="after", command=["true"]),
    ])))
c["schedulers"].append(schedulers.ForceScheduler(name="flood", builderNames=["flood"],
    properties=[util.StringParameter(name="script")]))
"""

# Buildbot's worker, but that it goes on with a command that it was told to end.
DEAF = """
from buildbot_worker import runprocess
runprocess.RunProcess.kill = lambda self, msg: None
"""

# One that answers to any command as the last word of it says.
HOSTILE = """
from buildbot_worker.commands import shell
from twisted.internet import defer
LONG = 5 << 20
ANSWERS = {
    "number": [("stdout", 42), ("rc", 0)],
    "list": [("stderr", ["a", ["b"]]), ("rc", 0)],
    "nothing": [("header", None), ("rc", 0)],
    "torn": [("stdout", b"\\xff\\xfe\\x00"), ("rc", 3)],
    "unknown": [("__class__", "x"), ("step", {"a": 1}), ("rc", 3)],
    "no such log": [("log", ("never", "text")), ("rc", 3)],
    "no log": [("log", 7), ("rc", 0)],
    "words": [("rc", "0; all is well")],
    "long number": [("rc", 10 ** 300)],
    "elapsed": [("elapsed", "x" * 1000), ("failure_reason", ["max_lines_failure"]), ("rc", 3)],
    "header": [("header", "h" * LONG), ("rc", 0)],
    "terminal": [("stdout", "\\x1b[2J\\x07<script>alert(1)</script>\\n"), ("rc", 3)],
    "silent": None,
}
def start(self):
    answer = ANSWERS[self.args["command"][-1]]
    if answer is None:
        return defer.Deferred()
    for one in answer:
        self.sendStatus([one])
    return defer.succeed(0)
shell.WorkerShellCommand.start = start
shell.WorkerShellCommand.interrupt = lambda self: None
"""

_START = """
import sys
from buildbot_worker.scripts.runner import run
sys.argv[0] = "buildbot-worker"
run()
"""


@contextlib.contextmanager
def worker(master: Master, folder: Path, patch: str = "") -> Iterator[None]:
    program = str(Path(sys.executable).parent / "buildbot-worker")
    address = f"127.0.0.1:{master.pb_port}"
    create = [program, "create-worker", "--quiet", str(folder), address, "far", "pass"]
    subprocess.run(create, check=True, timeout=PATIENCE)
    reaper.watch(folder)
    start = [sys.executable, "-c", patch + _START, "start", "--nodaemon", str(folder)]
    process = subprocess.Popen(start, env=master.env, stdout=subprocess.DEVNULL)
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
        with worker(master, tmp_path / "good"):
            build, said = flood(master, "yes 'a line that is printed without end'")
            assert build["results"] == FAILURE
            words = (
                f"more than {LIMIT} characters of output: the rest is cut; the command was ended"
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
        with worker(master, tmp_path / "deaf", DEAF):
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


def test_a_worker_that_misbehaves_loses_its_own_build_alone(tmp_path: Path) -> None:
    kinds = re.findall(r'^    "([a-z ]+)": ', HOSTILE, re.MULTILINE)
    assert len(kinds) == 13
    config = CONFIG.replace(
        "MAX_TIME = 600",
        """MAX_TIME = 2
from fdroid_bb.steps import command_limits
command_limits.SPARE = command_limits.GRACE = 1.0
c["workers"].append(worker.LocalWorker("near"))
c["builders"].append(util.BuilderConfig(name="other", workernames=["near"],
    factory=util.BuildFactory([steps.ShellCommand(name="true", command=["true"])])))
c["schedulers"].append(schedulers.ForceScheduler(name="other", builderNames=["other"]))
""",
    )
    with (
        Master(tmp_path / "master", config) as master,
        worker(master, tmp_path / "far", HOSTILE),
    ):
        before = memory(master)
        for kind in kinds:
            build, said = flood(master, kind)
            # What says that it was well may be so: nobody else was there.
            told = ["long number", "header"]
            assert build["results"] != 0 or kind in told, kind
            assert len(said) < 1.2 * LIMIT
            if kind == "silent":
                assert "still running after 2 seconds, the limit that its worker was given" in said
        # Whoever else builds here is none the worse.
        master.force("other", "other")
        assert master.builds("other", 1)[-1]["results"] == 0
        assert memory(master) - before < 100 << 20
        assert all(c.isprintable() or c in "\n\t" for c in master.log())
        assert connected(master)
