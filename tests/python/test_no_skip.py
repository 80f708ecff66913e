# SPDX-License-Identifier: GPL-2.0-or-later
"""That nothing can be skipped unseen where nothing may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(("setting", "status"), [({}, 0), ({"FDROID_BB_NO_SKIP": "1"}, 1)])
def test_a_skip_is_a_failure_where_nothing_may_be_skipped(
    tmp_path: Path, setting: dict[str, str], status: int
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom conftest import pytest_runtest_makereport\n\n\n"
        "def test_it() -> None:\n    pytest.skip('no such engine')\n"
    )
    (tmp_path / "conftest.py").symlink_to(HERE / "conftest.py")
    env = {name: value for name, value in os.environ.items() if name != "FDROID_BB_NO_SKIP"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(HERE), **setting},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout
    assert "no such engine" in done.stdout
