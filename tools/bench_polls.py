# SPDX-License-Identifier: GPL-2.0-or-later
"""Put the polls of all of fdroiddata through outages, now and as they were before, in one run.

    tools/bench_polls.py CORPUS PROGRAM [--before COMMIT]

CORPUS holds `fdroiddata.bundle`. The classes that masters run poll the corpus's URLs on a simulated
clock; only the outcome of `git ls-remote` is made up. The same is done with those of an earlier
commit of this repository, and a table with both is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The last commit whose pollers shared Twisted's semaphores.
BEFORE = "cff06d9b8fc61e249b11d07d9135bea8f68201ff"

# A room of a runtime that had none yet: all modules are in it, the same ones as outside.
ROOMLESS = """
import importlib, pkgutil, sys
import fdroid_bb
for found in pkgutil.iter_modules(fdroid_bb.__path__):
    if not found.ispkg:
        module = importlib.import_module(f"fdroid_bb.{found.name}")
        sys.modules[f"{__name__}.{found.name}"] = globals()[found.name] = module
"""

# What must hold, by the name of the measurement in polls_of_days.py.
WANTED = {
    "slow, then down: marked up after": "≤ 15 min",
    "slow, then down: calls in the 24 h after": "≥ 4 a repository",
    "slow, then down: overdue after 2 h": "0",
    "6 × 404 at one second: host down": "0 %",
    "6 × 404 at one second: longest gap of good ones": "≤ 1.1 intervals",
    "24 × 404 at one second: host down": "0 %",
    "24 × 404 at one second: longest gap of good ones": "≤ 1.1 intervals",
    "400 × 404: host down": "0 %",
    "400 × 404: longest gap of good ones": "≤ 1.1 intervals",
    "network away for 1 h: all hosts up after": "≤ 2 min",
    "network away for 1 h: calls a minute while making up": "3 × usual: 2 of it made up for",
    "network away for 1 h: turns missed after that": "0",
    "429 with Retry-After of 40 min: calls meanwhile": "≤ 2",
    "dead for a day, alone on its host: calls a day": "≤ 4, as a live one",
}


def run(runtime: Path, pollers: Path) -> dict[str, str]:
    """Measure in a process that has this runtime."""
    path = os.pathsep.join(map(str, (runtime, ROOT / "tests/python")))
    command = [sys.executable, str(ROOT / "tools/polls_of_days.py"), str(pollers)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def runtime_of(commit: str, folder: Path) -> Path | None:
    """The runtime of an earlier commit; None where this repository has no such one."""
    command = ["git", "archive", commit, "templates/fdroid_bb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    if done.returncode:
        print(f"no commit {commit}: only what is now is measured", file=sys.stderr)
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    package = folder / "templates/fdroid_bb"
    for room in {path.parent.name for path in (ROOT / "templates/fdroid_bb").glob("*/*.py")}:
        if not (package / room).exists():
            (package / room).mkdir()
            (package / room / "__init__.py").write_text(ROOMLESS)
    return folder / "templates"


def main() -> None:
    """Measure both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("program", type=Path)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "fdroiddata"
        bundle = args.corpus.resolve() / "fdroiddata.bundle"
        subprocess.run(["git", "clone", "-q", "-b", "dev", str(bundle), str(data)], check=True)
        generate = [str(args.program.resolve()), "generate", "--fdroiddata", str(data), "--out"]
        subprocess.run([*generate, str(folder / "out")], cwd=ROOT, check=True, capture_output=True)
        pollers = folder / "out/masters/checkupdates/pollers.py"
        earlier = runtime_of(args.before, folder)
        before = run(earlier, pollers) if earlier else {}
        now = run(ROOT / "templates", pollers)
    print(f"| | {args.before[:12]} | now | wanted |\n| --- | --- | --- | --- |")
    for row, value in now.items():
        print(f"| {row} | {before.get(row, '')} | {value} | {WANTED[row]} |")


if __name__ == "__main__":
    main()
