# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure the compiler beside its references: whole processes, on one machine, in one run.

    tools/bench.py CORPUS PROGRAM FDROIDSERVER_PYTHON

CORPUS holds `fdroiddata.bundle`. Everything is read from the page cache: what is measured is the
program, not the disk. Each figure is the median of its runs, which take turns, so that a slow
moment of the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

RUNS = 15
SAMPLE = 120

# Reads some apps as fdroidserver does, and prints the seconds it took without its imports.
READ_METADATA = """
import logging, sys, time
logging.disable(logging.CRITICAL)
from pathlib import Path
from fdroidserver import metadata
files = [Path(line.strip()) for line in sys.stdin]
start = time.perf_counter()
for file in files:
    metadata.parse_metadata(file)
print(time.perf_counter() - start)
"""


@dataclass
class Case:
    """A process to measure."""

    name: str
    command: Callable[[int], list[str]]
    goal: str = ""
    # Where it keeps what it has read; without it, nowhere.
    cache: Path = Path("/dev/null/cache")
    before: Callable[[int], None] = lambda _: None
    seconds: list[float] = field(default_factory=list)
    kibibytes: int = 0

    def run(self, turn: int) -> None:
        """Start it once, and wait for it."""
        command = self.command(turn)
        self.before(turn)
        env = {**os.environ, "XDG_CACHE_HOME": str(self.cache)}
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
        )
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"bench: exit {process.returncode} of {' '.join(command[:6])}")
        self.kibibytes = max(self.kibibytes, usage.ru_maxrss)

    def median(self) -> float:
        """Give the seconds of a typical run."""
        return statistics.median(self.seconds)


def git(folder: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("program", type=Path)
    parser.add_argument("fdroidserver_python", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure in `folder`."""
    bundle = arguments.corpus / "fdroiddata.bundle"
    checkout, bare = folder / "checkout", folder / "bare.git"
    clone = ["git", "clone", "--quiet", "--branch", "dev"]
    subprocess.run([*clone, bundle, checkout], check=True)
    subprocess.run([*clone, "--bare", bundle, bare], check=True)
    other = folder / "other"
    subprocess.run([*clone, bundle, other], check=True)

    def commit(turn: int) -> str:
        return f"dev~{RUNS - 1 - turn}"

    # As `watch` has it: the history so far is in a pack, and each commit is fetched by itself.
    follower = folder / "follower.git"
    git(folder, "init", "--quiet", "--bare", str(follower))
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")

    def fetch(turn: int) -> None:
        name = ["git", "-C", str(bare), "rev-parse", commit(turn)]
        done = subprocess.run(name, check=True, capture_output=True, text=True)
        wanted = f"+{done.stdout.strip()}:refs/heads/dev"
        git(follower, "fetch", "--quiet", str(bare), wanted)

    files = sorted(map(str, checkout.glob("metadata/*.yml")))
    files += sorted(map(str, checkout.glob("srclibs/*.yml")))
    config = Path(__file__).resolve().parent.parent / "fdroid-bb.toml"

    def generate(out: str, *inputs: str) -> Callable[[int], list[str]]:
        common = [str(arguments.program), "generate", "--config", str(config)]
        return lambda turn: [*common, *inputs, "--out", str(folder / out.format(turn=turn))]

    folder_input = ("--fdroiddata", str(checkout))
    revision = ("--fdroiddata", str(bare), "--rev", "dev")
    cases = [
        Case("cat of the same files", lambda _: ["cat", *files]),
        Case("checkout, nothing there", generate("new-{turn}", *folder_input), "< 2 × cat, 250 ms"),
        Case("bare repository at a revision", generate("bare-{turn}", *revision), "350 ms"),
        Case("checkout, nothing changed", generate("same", *folder_input)),
        Case(
            "bare repository, one commit more",
            generate("next", "--fdroiddata", str(follower), "--rev", "dev"),
            "20 ms",
            folder / "bare-cache",
            fetch,
        ),
        Case(
            "checkout, one commit more",
            generate("next-checkout", "--fdroiddata", str(other)),
            "40 ms",
            folder / "checkout-cache",
            lambda turn: git(other, "checkout", "-q", commit(turn)),
        ),
    ]
    # A file that was touched a moment ago is not known by its looks.
    git(other, "checkout", "-q", commit(-1))
    time.sleep(3)
    for case in cases:
        case.run(-1)
        case.seconds.clear()
    for turn in range(RUNS):
        for case in cases:
            case.run(turn)

    size = sum(Path(file).stat().st_size for file in files)
    print(f"{len(files)} files, {size / 1e6:.0f} MB, {RUNS} runs, {os.cpu_count()} processors\n")
    print(f"{'whole process':32}{'median':>10}{'of cat':>9}{'peak':>9}   goal")
    for case in cases:
        share = case.median() / cases[0].median()
        peak = case.kibibytes / 1024
        row = f"{case.name:32}{case.median() * 1e3:7.0f} ms{share:8.2f}×{peak:6.0f} MB"
        print(f"{row}   {case.goal}")
    peak = max(case.kibibytes for case in cases[1:]) / 1024
    print(f"\nhighest peak {peak:.0f} MB (goal: 120 MB)")

    apps = [file for file in files if "/metadata/" in file]
    sample = apps[:: len(apps) // SAMPLE]
    read = subprocess.run(
        [arguments.fdroidserver_python, "-c", READ_METADATA],
        input="\n".join(sample),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    seconds = float(read.stdout.split()[-1])
    share = sum(Path(file).stat().st_size for file in sample) / sum(
        Path(file).stat().st_size for file in apps
    )
    whole = seconds / share
    ratio = whole / cases[1].median()
    print(
        f"fdroidserver's own reading: {seconds:.1f} s for {len(sample)} apps, so by their bytes "
        f"about {whole:.0f} s for all: {ratio:,.0f} times a full compile (goal: 1,000)"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
