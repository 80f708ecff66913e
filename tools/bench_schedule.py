# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure `fdroid-bb schedule` beside `buildbot sendchange`, in one run, with one real master.

    tools/bench_schedule.py FDROID_BB [--builds N] [--processes N]

fdroidserver starts one process for each build. As many as `--processes` are started, one after the
other as it does, and what all would take is reckoned from these.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "templates")]

from masters import Master  # noqa: E402  # after the path it is found by
from test_schedule import MASTER, OFF, PASSWORD, World  # noqa: E402


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--builds", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for path in (world.data / "metadata").iterdir():
            path.unlink()
        for number in range(options.builds):
            world.app(f"org.example.app{number}", OFF)
        config = MASTER.replace("SUBMIT", str(world.port)).replace("FILE", str(world.password))
        with Master(Path(folder) / "master", config) as master:
            began = time.monotonic()
            command = [options.program, "schedule", "--all", "--config", str(world.config)]
            subprocess.run([*command, "--fdroiddata", str(world.data)], check=True)
            ours = time.monotonic() - began
            arrived = master.log().count("perspective_addChange")
            assert arrived == options.builds, arrived
            began = time.monotonic()
            for number in range(options.processes):
                app = f"org.example.app{number}"
                buildbot = [str(Path(sys.executable).parent / "buildbot"), "sendchange"]
                words = [
                    f"--master=127.0.0.1:{world.port}",
                    f"--auth=fdroid:{PASSWORD}",
                    "--branch=master",
                    f"--who={app}:21",
                    "--category=build",
                    f"--project={app}",
                    "--property=versionCode:21",
                    f"--property=packageName:{app}",
                    f"metadata/{app}.yml",
                ]
                subprocess.run([*buildbot, *words], check=True, stdout=subprocess.DEVNULL)
            each = (time.monotonic() - began) / options.processes
    print(f"fdroid-bb schedule: {options.builds} builds, one connection: {ours:.1f} s")
    print(
        f"buildbot sendchange: {each:.2f} s a process; {options.builds} would take "
        f"{each * options.builds:.0f} s: {each * options.builds / ours:.0f} times as long"
    )


if __name__ == "__main__":
    main()
