# SPDX-License-Identifier: GPL-2.0-or-later
"""fdroid-bb itself, and masters made with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from masters import PATIENCE, ROOT, Master, put_secrets

PROGRAM = os.environ.get("FDROID_BB", str(ROOT / "target/release/fdroid-bb"))


def fdroid_bb(*args: str | Path, exit_code: int = 0, both: bool = False, cwd: Path = ROOT) -> str:
    """What the program prints; fails with all it said if it ends otherwise than expected.

    With `both`, what it prints to stderr too, after the rest.
    """
    done = subprocess.run(
        [PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, cwd=cwd
    )
    said = f"{args} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == exit_code, said
    return done.stdout + done.stderr if both else done.stdout


def generate(config: Path, fdroiddata: Path, out: Path) -> Path:
    """Compile; the folder of the masters."""
    fdroid_bb("generate", "--config", config, "--fdroiddata", fdroiddata, "--out", out)
    return out / "masters"


def apps(config: Path, fdroiddata: Path) -> dict[str, dict[str, Any]]:
    """What `apps --format json` says, by application id."""
    lines = fdroid_bb("apps", "--format", "json", "--config", config, "--fdroiddata", fdroiddata)
    return {app["id"]: app for app in map(json.loads, lines.splitlines())}


def generated_master(
    masters: Path, name: str, basedir: Path, secrets: Mapping[str, str], **kwargs: Any
) -> Master:
    """A master that runs masters/NAME/master.cfg where it is, in a network of its own."""
    put_secrets(basedir, secrets)
    config = (masters / name / "master.cfg").resolve()
    port = re.search(r'c\["www"\] = \{\s*"port": "tcp:(\d+)', config.read_text())
    assert port is not None
    return Master(basedir, configfile=config, www_port=int(port[1]), isolated=True, **kwargs)
