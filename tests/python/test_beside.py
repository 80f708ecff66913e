# SPDX-License-Identifier: GPL-2.0-or-later
"""`tools/beside.py`, which runs the parts of CI side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from masters import ROOT, wait_for

BESIDE = [sys.executable, str(ROOT / "tools/beside.py")]


def beside(*commands: str) -> tuple[int, str]:
    """How it ends, and all that it says."""
    done = subprocess.run(
        [*BESIDE, *commands], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def test_each_is_shown_in_one_piece(tmp_path: Path) -> None:
    # Both write at the same time: neither goes on before the other has begun.
    meet = "echo {0} 1; touch {0}; until [ -e {1} ]; do sleep 0.05; done; echo {0} 2 >&2"
    one, two = (f"cd {tmp_path}; {meet.format(*names)}" for names in (("a", "b"), ("b", "a")))
    status, said = beside(one, two, "true")
    assert status == 0
    assert "\na 1\na 2\n" in said
    assert "\nb 1\nb 2\n" in said
    assert said.count(": succeeded after 0:") == 5


def test_a_failure_is_shown_at_once_and_the_others_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *BESIDE,
            "echo broken; exit 3",
            f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo on",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    # The second still runs while this is read.
    lines = [process.stdout.readline() for _ in range(4)]
    assert lines[2] == "broken\n"
    assert "failed with status 3" in lines[3]
    (tmp_path / "go").touch()
    rest = process.stdout.read()
    assert rest.startswith("on\n")
    assert process.wait() == 1


def test_ctrl_c_ends_all_of_them_and_what_they_left_running(tmp_path: Path) -> None:
    # One ends by itself, one is deaf, one has left a daemon behind.
    polite = (
        f"trap 'touch {tmp_path}/told; exit' INT; touch {tmp_path}/1; while :; do sleep 0.05; done"
    )
    daemon = f"setsid sh -c 'echo $$ > {tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/2; sleep 999' &"
    process = subprocess.Popen(
        [*BESIDE, polite, daemon, f"touch {tmp_path}/3; exec sleep 999"], stdout=subprocess.DEVNULL
    )
    wait_for("them", lambda: all((tmp_path / name).exists() for name in "123"))
    pid = int((tmp_path / "2").read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert (tmp_path / "told").exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not [p for p in Path("/proc").glob("[0-9]*/environ") if _of(p, tmp_path)]


def _of(environ: Path, folder: Path) -> bool:
    try:
        return (environ.parent / "cmdline").read_bytes().find(os.fsencode(folder)) >= 0
    except OSError:
        return False
