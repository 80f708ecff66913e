# SPDX-License-Identifier: GPL-2.0-or-later
"""How the tests run masters: as the README does, and so that none outlives them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from masters import PATIENCE, Master, wait_for

# A test run that is killed while its master runs.
KILLED = """\
import os, signal, sys
from pathlib import Path
import pytest

from masters import Master
master = Master(Path(sys.argv[1]), "")
print(master.start().pid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_master_is_a_daemon_as_the_readme_starts_it(tmp_path: Path) -> None:
    with Master(tmp_path / "apart", "", isolated=True, addresses=["10.1.2.3"]) as master:
        pid = master.pid()
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(re.findall(r"^(Umask|PPid):\s*(\d+)", status, re.M))
        assert found["Umask"] == "0077"
        # Nobody's child who could wait for it, and in no session of a terminal.
        assert int(found["PPid"]) != os.getpid()
        assert os.getsid(pid) != os.getsid(0)
        networks = {Path(f"/proc/{who}/ns/net").readlink() for who in (pid, "self")}
        assert len(networks) == 2
    assert not master.runs()


def test_a_master_that_cannot_start_tells_why(tmp_path: Path) -> None:
    master = Master(tmp_path / "master", "raise ValueError('broken')")
    with pytest.raises(AssertionError, match="buildbot start ended with 1") as failure:
        master.start()
    assert "ValueError: broken" in str(failure.value)
    assert not master.runs()


def test_no_master_outlives_a_test_run_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "master")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, cwd=Path(__file__).parent
    )
    assert done.returncode == -9, done.stderr
    wait_for("its end", lambda: not Path(f"/proc/{int(done.stdout)}").exists())
