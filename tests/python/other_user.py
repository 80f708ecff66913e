# SPDX-License-Identifier: GPL-2.0-or-later
"""What another user of the machine can read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from masters import PATIENCE

# In a mount namespace, for nobody else can enter the folders above, which are pytest's.
_SCRIPT = """\
mount --bind "$0" /mnt && cd /mnt || exit 2
exec setpriv --reuid=65534 --regid=65534 --clear-groups find . -type f -readable -printf '%P\\n'
"""


def readable(folder: Path) -> set[str]:
    """The files below a folder that it can read, by their paths in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder.chmod(0o755)
    command = ["unshare", "--mount", "sh", "-c", _SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    # 1: there are folders that it cannot enter.
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.splitlines())


def files(folder: Path, below: Path) -> set[str]:
    """All files below `below`, by their paths in `folder`."""
    found = (path for path in below.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in found}
