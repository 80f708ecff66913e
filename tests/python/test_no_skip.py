# SPDX-License-Identifier: GPL-2.0-or-later
"""That nothing can be skipped unseen where nothing may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from masters import PATIENCE

HERE = Path(__file__).resolve().parent

SKIPS = {
    "in a test": "def test_it() -> None:\n    pytest.skip('no such engine')\n",
    "by a mark": "@pytest.mark.skip(reason='no such engine')\ndef test_it() -> None:\n    pass\n",
    "in a fixture": (
        "@pytest.fixture\ndef engine() -> None:\n    pytest.skip('no such engine')\n\n\n"
        "def test_it(engine: None) -> None:\n    pass\n"
    ),
    "a whole file": "pytest.skip('no such engine', allow_module_level=True)\n",
    "for want of a module": (
        "pytest.importorskip('no_such_module', reason='no such engine')\n\n\n"
        "def test_it() -> None:\n    pass\n"
    ),
}


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
def test_a_skip_is_a_failure_where_nothing_may_be_skipped(tmp_path: Path, skip: str) -> None:
    (tmp_path / "conftest.py").symlink_to(HERE / "conftest.py")
    (tmp_path / "test_it.py").write_text(f"import pytest\n\n\n{skip}")
    # Without any test at all, pytest would complain of that.
    (tmp_path / "test_other.py").write_text("def test_other() -> None:\n    pass\n")
    env = {name: value for name, value in os.environ.items() if name != "FDROID_BB_NO_SKIP"}

    def run(**setting: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider"],
            cwd=tmp_path,
            env={**env, "PYTHONPATH": str(HERE), **setting},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    allowed = run()
    assert allowed.returncode == 0, allowed.stdout
    assert "SKIPPED" in allowed.stdout
    assert "no such engine" in allowed.stdout
    forbidden = run(FDROID_BB_NO_SKIP="1")
    assert forbidden.returncode != 0, forbidden.stdout
    assert "SKIPPED" not in forbidden.stdout
    assert "no such engine (FDROID_BB_NO_SKIP is set)" in forbidden.stdout
