# SPDX-License-Identifier: GPL-2.0-or-later
"""Replay fdroiddata's history through `fdroid-bb watch` with a real master, bad commits among it.

    tools/bench_watch.py CORPUS PROGRAM [--commits N] [--bad N]

CORPUS holds `fdroiddata.bundle`. After each commit that a master was told of, it is asked over REST
for its pollers; that takes it some seconds, so it is not asked where nobody has told it anything.
A build runs all the time, which nothing may disturb. What is measured is the time from a push until
the master runs it, and the memory of the master and of `watch`.
"""

from __future__ import annotations

import argparse
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "templates")]

from applied import CONFIG, git  # noqa: E402  # after the path it is found by
from masters import Master, free_ports, wait_for  # noqa: E402

# How a commit may end, by the last word of `watch` on it.
LIVE, REFUSED = "live", "refused"

LAST = 2_000

ALWAYS = """
[schedulers.always]
on = { every = "10h" }
builders = ["check"]
properties = { packageName = "org.example.always" }
"""


def broken(data: Path) -> None:
    """Leave an app without its end."""
    app(data).write_text("Repo: [\n")


def deleted(data: Path) -> None:
    """Delete an app."""
    app(data).unlink()


def emptied(data: Path) -> None:
    """Delete 2,000 apps."""
    for path in sorted(data.glob("metadata/*.yml"))[:LAST]:
        path.unlink()


def hostile(data: Path) -> None:
    """Give an app a URL that is a command."""
    path = app(data)
    path.write_text(
        re.sub(r"(?m)^Repo: .*$", "Repo: 'ext::sh -c touch%20/tmp/x'", path.read_text())
    )


def patternless(data: Path) -> None:
    """Give an app a pattern that is none."""
    path = app(data)
    path.write_text(
        re.sub(r"(?m)^UpdateCheckMode: .*$", "UpdateCheckMode: Tags ((a+)+$", path.read_text())
    )


def app(data: Path) -> Path:
    """Find an app that has a poller."""
    return next(
        path
        for path in sorted(data.glob("metadata/org.*.yml"))
        if re.search(r"(?m)^UpdateCheckMode: Tags$", path.read_text())
        and re.search(r"(?m)^Repo: https://github.com/", path.read_text())
    )


BAD: list[tuple[Callable[[Path], None], str]] = [
    (broken, LIVE),
    (deleted, LIVE),
    (emptied, REFUSED),
    (hostile, LIVE),
    (patternless, LIVE),
]


class Replay:
    """A master, `watch` beside it, and the repository that both follow."""

    def __init__(self, folder: Path, bundle: Path, program: Path) -> None:
        self.origin, self.data = folder / "origin.git", folder / "work"
        clone = ["git", "clone", "--quiet", "--branch", "dev"]
        subprocess.run([*clone, "--bare", bundle, self.origin], check=True)
        subprocess.run([*clone, self.origin, self.data], check=True)
        self.mirror = folder / "mirror.git"
        subprocess.run([*clone, "--bare", self.origin, self.mirror], check=True)
        www, pb = free_ports(2)
        self.out = folder / "out"
        self.out.mkdir()
        config = folder / "fdroid-bb.toml"
        text = CONFIG.replace("WWW_PORT", str(www)).replace("PB_PORT", str(pb))
        # A build that takes longer than all of this.
        config.write_text(text.replace('run = ["sleep", "1"]', 'run = ["sleep", "7200"]') + ALWAYS)
        inputs = ["--config", config, "--fdroiddata", self.mirror, "--rev", "dev"]
        self.inputs = [*map(str, inputs), "--out", str(self.out)]
        self.program = str(program)
        self.folder = folder
        self.www = www

    def start(self, first: str) -> None:
        """Start with a commit."""
        self.push(first)
        fetch = ["fetch", "-q", "origin", "+refs/heads/dev:refs/heads/dev"]
        git(self.mirror, *fetch)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([self.program, "generate", *self.inputs], check=True, **quiet)
        (self.folder / "bases").mkdir()
        self.master = Master(
            self.folder / "bases/main",
            configfile=self.out / "masters/main/master.cfg",
            www_port=self.www,
            start_seconds=180,
        ).start()
        self.log = self.folder / "watch.log"
        command = [self.program, "watch", *self.inputs, "--basedirs", str(self.folder / "bases")]
        command += ["--interval", "3600", "--quiet-time", "0"]
        command += ["--buildbot", str(Path(sys.executable).parent / "buildbot")]
        with self.log.open("w") as log:
            self.watch = subprocess.Popen(command, stdout=log, stderr=log)
        self.ended(first)

    def push(self, commit: str) -> None:
        """Let the branch be at a commit."""
        git(self.data, "push", "-q", "-f", str(self.origin), f"{commit}:refs/heads/dev")

    def ended(self, commit: str) -> str:
        """Wait for the last word on a commit."""
        words = re.compile(rf"at {commit[:12]}: (live|not applied)")

        def last() -> str:
            found = words.findall(self.log.read_text())
            return found[-1] if found else ""

        return LIVE if wait_for(f"the end of {commit[:12]}", last, 300) == LIVE else REFUSED

    def follow(self, commit: str) -> tuple[str, float]:
        """Push a commit: how it ended, and after how many seconds."""
        start = time.monotonic()
        self.push(commit)
        self.watch.send_signal(signal.SIGHUP)
        return self.ended(commit), time.monotonic() - start

    def pollers(self) -> tuple[int, int]:
        """Count the pollers that the master has, and those that it is to have."""
        has = len(self.master.rest("masters/1/changesources?field=name")["changesources"])
        text = (self.out / "masters/main/pollers.py").read_text()
        return has, len(re.findall(r"(?m)^    (?:git|hg|svn)\(", text))


def memory(pid: int) -> float:
    """Give the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def main() -> None:
    """Replay, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("program", type=Path)
    parser.add_argument("--commits", type=int, default=500)
    parser.add_argument("--bad", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        replay(arguments, Path(folder))


def replay(arguments: argparse.Namespace, folder: Path) -> None:
    """Replay in `folder`."""
    run = Replay(folder, arguments.corpus / "fdroiddata.bundle", arguments.program.resolve())
    log = ["rev-list", "--first-parent", f"-{arguments.commits + 1}", "HEAD"]
    commits = git(run.data, *log).split()[::-1]
    run.start(commits[0])
    all_seconds: list[float] = []
    changing: list[float] = []
    wrong: list[str] = []
    memories: list[tuple[float, float]] = []
    every = max(1, arguments.commits // max(1, arguments.bad))
    bad, (has, wanted) = 0, run.pollers()
    master_pid = run.master.pid()
    for number, commit in enumerate(commits[1:], 1):
        before = run.master.log().count("beginning configuration update")
        ended, seconds = run.follow(commit)
        told = run.master.log().count("beginning configuration update") - before
        all_seconds.append(seconds)
        if told:
            changing.append(seconds)
            has, wanted = run.pollers()
        if ended != LIVE or has != wanted:
            wrong.append(f"{commit[:12]}: {ended}, {has} of {wanted} pollers")
        if number % every == 0 and bad < arguments.bad:
            spoil, expected = BAD[bad % len(BAD)]
            bad += 1
            git(run.data, "checkout", "-q", "-f", commit)
            spoil(run.data)
            git(run.data, "add", "-A")
            git(run.data, "commit", "-q", "-m", spoil.__name__)
            spoiled = git(run.data, "rev-parse", "HEAD")
            ended, _ = run.follow(spoiled)
            has, wanted = run.pollers()
            if ended != expected or has != wanted:
                wrong.append(f"{spoil.__name__}: {ended}, {has} of {wanted} pollers")
        if number % 50 == 0:
            memories.append((memory(master_pid), memory(run.watch.pid)))
            print(
                f"{number} commits: {memories[-1][0]:.0f} MB, {memories[-1][1]:.0f} MB", flush=True
            )
    builds = run.master.rest("builds")["builds"]
    disturbed = [build for build in builds if build["complete"]]
    if len(builds) != 1:
        wrong.append(f"{len(builds)} builds instead of one that runs all the time")
    run.watch.terminate()
    run.watch.wait(30)
    run.master.stop()
    print(f"{len(all_seconds)} commits and {bad} bad ones, {has} pollers")
    for what, seconds_ in (("all", all_seconds), ("that changed a master", changing)):
        print(
            f"from the push until live, {len(seconds_)} {what}: median "
            f"{statistics.median(seconds_):.2f} s, worst {max(seconds_):.2f} s"
        )
    print(f"builds disturbed: {len(disturbed)}")
    print(f"ended otherwise than they should: {len(wrong)}")
    print("\n".join(wrong[:20]))


if __name__ == "__main__":
    main()
