# SPDX-License-Identifier: GPL-2.0-or-later
"""What strangers send, in the log and on the terminal of whoever reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fdroid_bb.master.plain_log import LONGEST, plain
from masters import PATIENCE, PREAMBLE, Master, wait_for

# Clears the screen, sets the title, and begins a line that looks like the master's own.
NAME = "\x1b[2J\x1b]0;mine\x07\r2030-01-01 [-] all is well\n\u202e\x9b1m"


def test_the_name_in_a_login_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    with Master(tmp_path / "master", PREAMBLE) as master:
        command = [str(Path(sys.executable).parent / "buildbot"), "sendchange", "--who=a"]
        command += [f"--master=127.0.0.1:{master.pb_port}", f"--auth={NAME}:wrong", "file"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 1, done.stdout + done.stderr
        wait_for("the login", lambda: "invalid login from unknown user" in master.log())
        log = (master.basedir / "twistd.log").read_bytes().decode()
    found = log.split("invalid login from unknown user ", 1)[1]
    shown = "'?[2J?]0;mine??2030-01-01 [-] all is well\n\t??1m'"
    assert found.startswith(shown), found[:200]
    assert all(c.isprintable() or c in "\n\t" for c in log)


def test_a_message_has_an_end() -> None:
    assert plain("é ü 漢\n\tb") == "é ü 漢\n\tb"
    long = plain("x" * 10_000_000)
    assert len(long) == LONGEST
    assert long.endswith("…")
