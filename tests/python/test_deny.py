# SPDX-License-Identifier: GPL-2.0-or-later
"""`./dev deny` holds crates to deny.toml and to advisories, and says what it did not check."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from masters import PATIENCE, ROOT

_DATABASE = "https://github.com/RustSec/advisory-db"

_ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2026-9999"
package = "memchr"
date = "2026-01-01"

[versions]
patched = []
```

# Finds what is not there

Made up.
"""


def deny(tmp_path: Path, database: Path) -> subprocess.CompletedProcess[str]:
    """Run it with another database in place of RustSec's."""
    # Cargo's home but for the databases, of which this one is none to keep.
    home = tmp_path / "cargo"
    home.mkdir()
    real = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    for entry in real.iterdir():
        if entry.name != "advisory-dbs":
            (home / entry.name).symlink_to(entry)
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{database}.insteadOf",
        "GIT_CONFIG_VALUE_0": _DATABASE,
    }
    return subprocess.run(
        [ROOT / "dev", "deny"],
        env={**os.environ, **instead, "CARGO_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )


def test_a_database_that_cannot_be_fetched_is_told(tmp_path: Path) -> None:
    done = deny(tmp_path, tmp_path / "none")
    assert done.returncode == 0, done.stdout
    assert "bans ok, licenses ok, sources ok" in done.stdout
    assert "advisories NOT CHECKED" in done.stdout
    # With git's own reason.
    assert "Please make sure you have the correct access rights" in done.stdout


@pytest.mark.parametrize("vulnerable", [False, True])
def test_advisories_are_checked(tmp_path: Path, vulnerable: bool) -> None:
    database = tmp_path / "database"
    crate = "memchr" if vulnerable else "none-of-ours"
    advisory = database / "crates" / crate / "RUSTSEC-2026-9999.md"
    advisory.parent.mkdir(parents=True)
    advisory.write_text(_ADVISORY.replace("memchr", crate))
    git = ["git", "-C", str(database), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "advisories"]):
        subprocess.run([*git, *command], check=True)
    done = deny(tmp_path, database)
    assert (done.returncode != 0) is vulnerable, done.stdout
    assert ("RUSTSEC-2026-9999" in done.stdout) is vulnerable
    assert ("advisories ok" in done.stdout) is not vulnerable
    assert "NOT CHECKED" not in done.stdout
