# SPDX-License-Identifier: GPL-2.0-or-later
"""A real browser, for what scripts make of a page."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
    "--virtual-time-budget=10000",
)


def _run(chromium: str, url: str, *flags: str) -> str:
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    return done.stdout


def page_text(chromium: str, url: str) -> str:
    """The page as scripts have made it: HTML without its scripts and styles."""
    html = _run(chromium, url, "--dump-dom")
    return re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)


def screenshot(chromium: str, url: str, path: Path) -> None:
    """What somebody sees."""
    _run(chromium, url, f"--screenshot={path}")
