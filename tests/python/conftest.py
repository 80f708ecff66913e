# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from masters import ROOT, TEMPLATES
from repositories import Server

sys.path.insert(0, str(TEMPLATES))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the real fdroiddata, for all tests: to read only."""
    folder = Path(os.environ.get("FDROID_BB_CORPUS", ROOT.parent / "shared/corpus"))
    bundle = folder / "fdroiddata.bundle"
    if not bundle.exists():
        pytest.skip(f"no corpus at {bundle}: set FDROID_BB_CORPUS")
    checkout = tmp_path_factory.mktemp("corpus") / "fdroiddata"
    clone = ["git", "clone", "-q", "-b", "dev", str(bundle), str(checkout)]
    subprocess.run(clone, check=True, timeout=120)
    return checkout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A git server of loopback."""
    server = Server(tmp_path_factory.mktemp("repositories"))
    yield server
    server.close()


@dataclass
class Counted:
    """A folder to put first on the PATH, and the log of the programs run from it."""

    folder: Path
    log: Path

    def env(self) -> dict[str, str]:
        """The PATH that leads to them."""
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def lines(self) -> list[str]:
        """One for each process, its arguments."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture(scope="module")
def counted_git(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """A `git` that notes how it is called, then is the real one."""
    folder = tmp_path_factory.mktemp("bin")
    log = folder / "git.log"
    real = shutil.which("git")
    script = folder / "git"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    return Counted(folder, log)
