# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure AppGitPoller beside Buildbot's own GitPoller, in one run.

    tools/bench_pollers.py [--repositories N] [--tags N] [--pollers N] [--many N]

First two rounds of polls of real repositories, served over http on loopback; between them some
get a new tag with commits behind it. Then masters with thousands of pollers that poll nothing:
how long they take to start, to start after a crash, to reconfigure and to stop.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "templates")]

from masters import Master, wait_for  # noqa: E402  # after the path it is found by
from repositories import Repository, Server  # noqa: E402

# Of the repositories, one in so many gets a new tag, with so many commits behind it.
PUSHED = 10
COMMITS = 10

# Seconds without a new process after which a round is over.
QUIET = 5

OURS = "AppGitPoller({name!r}, {url!r}, tags='', allow_protocol='http', pollInterval={interval})"
# In one folder, as they are unless told otherwise, pollers that run at once fail now and then.
STOCK = """changes.GitPoller(
        {url!r}, name={name!r}, workdir={name!r}, only_tags=True, pollInterval={interval})"""


class StockMaster(Master):
    """A master that knows nothing of fdroid_bb, which fixes a thing or two in Buildbot itself."""

    def write(self, config: str) -> None:
        """Lay down a configuration without it."""
        super().write(config)
        path = self.basedir / "master.cfg"
        text = path.read_text().replace("from fdroid_bb import *\n", "")
        path.write_text(re.sub(r'Output\(".*"\)', "", text))


def config(template: str, urls: dict[str, str], interval: int = 6 * 60 * 60) -> str:
    """A master with these pollers, all of which a web hook can ask to poll."""
    lines = [
        f"    {template.format(name=name, url=url, interval=interval)},\n"
        for name, url in urls.items()
    ]
    hook = 'c["www"]["change_hook_dialects"] = {"poller": True}\n'
    return f'{hook}c["change_source"] = [\n{"".join(lines)}]\n'


def processor_seconds(pid: int) -> float:
    """What a process and its children that have ended took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MB."""
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1]) / 1000 if found else 0


def query(master: Master, sql: str) -> int:
    """The number that a query of the master's database gives; 0 while there is none."""
    try:
        with closing(sqlite3.connect(master.basedir / "state.sqlite", timeout=30)) as database:
            return int(database.execute(sql).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def bytes_on_disk(folder: Path) -> int:
    """All but the database and the log, which both kinds have."""
    kept = ("state.sqlite", "twistd", "master.cfg", "buildbot.tac")
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(p.stat().st_size for p in files if not p.name.startswith(kept))


@dataclass
class Rounds:
    """Two rounds of polls by one kind of poller."""

    processes: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    disk: int = 0
    changes: int = 0


class Polling:
    """Real repositories, and a `git` that notes how often it is started."""

    def __init__(self, folder: Path, repositories: int, tags: int) -> None:
        self.folder = folder
        self.server = Server(folder / "repositories")
        first = self.server.repository("r0.git")
        for n in range(tags):
            first.commit()
            first.tag(f"v{n}")
        self.repositories = [first]
        for n in range(1, repositories):
            path = folder / f"repositories/r{n}.git"
            shutil.copytree(first.path, path)
            copy = Repository.__new__(Repository)
            copy.path, copy.url = path, f"http://127.0.0.1:{self.server.port}/r{n}.git"
            self.repositories.append(copy)
        self.urls = {f"org.bench.n{n}": r.url for n, r in enumerate(self.repositories)}
        self.round = 0

    def measure(self, kind: str, template: str) -> Rounds:
        """Poll all twice, with pushes between."""
        bin_folder = self.folder / f"bin-{kind}"
        bin_folder.mkdir()
        log = bin_folder / "log"
        log.touch()
        program = bin_folder / "git"
        program.write_text(f'#!/bin/sh\necho >> {log}\nexec {shutil.which("git")} "$@"\n')
        program.chmod(0o755)
        rounds = Rounds()
        path = f"{bin_folder}:{os.environ['PATH']}"
        make = StockMaster if template is STOCK else Master
        master = make(self.folder / kind, config(template, self.urls), env={"PATH": path})
        with master:
            pid = master.pid()
            for turn in range(2):
                if turn:
                    self.push()
                started, cpu = log.stat().st_size, processor_seconds(pid)
                began = time.monotonic()
                answer = master.ask("POST", "/change_hook/poller", "")
                if answer.status != 200:
                    sys.exit(f"bench: the hook says {answer.status} {answer.text[:200]}")
                ended = self.wait_until_quiet(pid, log, started)
                rounds.wall.append(ended - began)
                rounds.processes.append(log.stat().st_size - started)
                rounds.cpu.append(processor_seconds(pid) - cpu)
            rounds.changes = query(master, "SELECT count(*) FROM changes")
            rounds.disk = bytes_on_disk(master.basedir)
            if "Traceback" in master.log():
                sys.exit(f"bench: the master of {kind} failed:\n{master.log()[-2000:]}")
        return rounds

    def push(self) -> None:
        """A new tag here and there."""
        self.round += 1
        for repository in self.repositories[::PUSHED]:
            repository.commit(count=COMMITS)
            repository.tag(f"w{self.round}")

    def wait_until_quiet(self, pid: int, log: Path, before: int) -> float:
        """When the last process of a round ended."""
        wait_for("the first poll", lambda: log.stat().st_size > before, 60)
        last, ended = log.stat().st_size, time.monotonic()
        children = Path(f"/proc/{pid}/task/{pid}/children")
        while time.monotonic() - ended < QUIET:
            time.sleep(0.2)
            size = log.stat().st_size
            if size != last or children.read_text().strip():
                last, ended = size, time.monotonic()
        return ended


def compare_polls(folder: Path, repositories: int, tags: int) -> None:
    """Print the table of two rounds."""
    polling = Polling(folder, repositories, tags)
    try:
        stock = polling.measure("stock", STOCK)
        ours = polling.measure("ours", OURS)
    finally:
        polling.server.close()
    pushed = len(polling.repositories[::PUSHED])
    print(
        f"{repositories} repositories of {tags} tags, polled twice; before the second time "
        f"{pushed} get a tag with {COMMITS} commits behind it\n"
    )
    print(f"{'':34}{'GitPoller':>12}{'AppGitPoller':>14}{'ratio':>9}   goal")

    def row(name: str, one: float, other: float, form: str, goal: str = "") -> None:
        ratio = f"{one / other:,.0f}×" if other else ""
        print(f"{name:34}{format(one, form):>12}{format(other, form):>14}{ratio:>9}   {goal}")

    for turn, name in enumerate(("first round", "second round")):
        goals = ("100×", "50×") if turn else ("", "")
        row(f"git started, {name}", stock.processes[turn], ours.processes[turn], ",d", goals[0])
        row(f"CPU seconds, {name}", stock.cpu[turn], ours.cpu[turn], ".1f", goals[1])
        row(f"seconds, {name}", stock.wall[turn], ours.wall[turn], ".1f")
    row("KB on disk", stock.disk // 1000, ours.disk // 1000, ",d", "none")
    row(f"changes made of {pushed} tags", stock.changes, ours.changes, ",d")
    print("\nCPU is the master's with its children's, and the counting's; not the server's.\n")


@dataclass
class Life:
    """What a master with many pollers takes, in seconds and MB."""

    kind: str
    count: int
    start: float
    memory: float
    same: float
    changed: float
    crashed: float
    stop: float


def live(folder: Path, kind: str, template: str, count: int) -> Life:
    """Start, reconfigure, kill, start and stop a master."""
    # Nothing listens there; the few whose turn it is while this runs learn that at once.
    urls = {f"org.bench.n{n}": f"http://127.0.0.1:9/{n}.git" for n in range(count)}
    text = config(template, urls)
    make = StockMaster if template is STOCK else Master
    master = make(folder / f"{kind}-{count}", text, start_seconds=1800)
    claims = "SELECT count(*) FROM changesource_masters"

    def started() -> float:
        began = time.monotonic()
        seen = master.log().count("BuildMaster is running")
        master.start()
        wait_for("the start", lambda: master.log().count("BuildMaster is running") > seen, 1800)
        wait_for("the claims", lambda: query(master, claims) == count, 1800)
        return time.monotonic() - began

    def timed(work: Callable[[], object]) -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began

    try:
        start = started()
        assert master.process is not None
        memory = resident(master.process.pid)
        same = timed(lambda: master.reconfig(text, seconds=1800))
        other = text.replace("9/7.git", "9/7-moved.git")
        changed = timed(lambda: master.reconfig(other, seconds=1800))
        master.kill()
        crashed = started()
        process = master.process
        assert process is not None
        process.terminate()
        stop = timed(lambda: process.wait(1800))
    finally:
        if master.process is not None and master.process.poll() is None:
            master.kill()
    return Life(kind, count, start, memory, same, changed, crashed, stop)


def compare_lives(folder: Path, count: int, many: int) -> None:
    """Print the table of masters with many pollers."""
    lives = [
        live(folder, "AppGitPoller", OURS, count),
        live(folder, "AppGitPoller", OURS, many),
        live(folder, "GitPoller", STOCK, count),
    ]
    print(
        f"{'pollers':>24}{'start':>9}{'resident':>11}{'reconfig':>10}{'one other':>11}"
        f"{'after kill':>12}{'stop':>9}"
    )
    for of in lives:
        print(
            f"{of.count:>10,d} {of.kind:13}{of.start:7.1f} s{of.memory:8.0f} MB{of.same:8.1f} s"
            f"{of.changed:9.1f} s{of.crashed:10.1f} s{of.stop:7.1f} s"
        )
    print(f"\ngoal: a start with {count:,d} under 10 s; until every poller has its claim")


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repositories", type=int, default=200)
    parser.add_argument("--tags", type=int, default=100)
    parser.add_argument("--pollers", type=int, default=4000)
    parser.add_argument("--many", type=int, default=20000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare_polls(Path(folder), arguments.repositories, arguments.tags)
        compare_lives(Path(folder), arguments.pollers, arguments.many)


if __name__ == "__main__":
    main()
