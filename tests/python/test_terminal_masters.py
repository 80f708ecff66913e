# SPDX-License-Identifier: GPL-2.0-or-later
"""On a real terminal, the commands that bring something to a real master."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from applied import APP, SUBMIT, Applied, git
from masters import PATIENCE, free_port, wait_for
from program import PROGRAM
from terminal import Terminal, environment

PENDING = (
    APP
    + """\
Builds:
  - versionName: '1.0'
    versionCode: 1
    commit: v1
CurrentVersion: '1.0'
CurrentVersionCode: 1
"""
)

INTERRUPTED = 128 + 2


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    folder = tmp_path_factory.mktemp("terminal")
    submit = SUBMIT.replace("FOLDER", str(folder)).replace("PORT", str(free_port()))
    applied = Applied(folder, submit)
    yield applied
    applied.master.stop()


def on_a_terminal(arguments: list[str], columns: int = 80) -> tuple[int, str]:
    """How a command ends, and what stays on the screen."""
    terminal = Terminal(arguments, columns=columns)
    status = terminal.end(PATIENCE)
    return status, "\n".join(terminal.screen())


@pytest.mark.parametrize("columns", [80, 40])
def test_plan_apply_and_rollback_end_and_say_what_they_did(applied: Applied, columns: int) -> None:
    name = f"org.example.columns{columns}"
    before = applied.files()
    applied.add(name)
    status, said = on_a_terminal(applied.arguments("plan"), columns)
    assert status == 0, said
    assert "+1 ~0" in said
    status, said = on_a_terminal(applied.arguments("apply"), columns)
    assert status == 0, said
    assert "main: reconfigured" in said
    assert name in applied.pollers()
    status, said = on_a_terminal(applied.arguments("apply"), columns)
    assert status == 0, said
    assert "main: runs it already" in said
    status, said = on_a_terminal(applied.arguments("rollback"), columns)
    assert status == 0, said
    assert name not in applied.pollers()
    assert applied.files() == before
    applied.remove(name)
    status, said = on_a_terminal(applied.arguments("apply", "--release"), columns)
    assert status == 0, said


def test_ctrl_c_in_the_middle_of_apply_leaves_the_old_set(applied: Applied) -> None:
    before, pollers = applied.files(), applied.pollers()
    applied.add("org.example.interrupted")
    checking = applied.folder / "checking"
    applied.fault("checkconfig", f"touch {checking}; sleep 86400")
    try:
        terminal = Terminal(applied.arguments("apply"))
        wait_for("the check of the configuration", checking.exists)
        terminal.type(b"\x03")
        assert terminal.end(PATIENCE) in (INTERRUPTED, -2)
    finally:
        applied.fault("checkconfig", None)
    assert applied.files() == before
    assert applied.pollers() == pollers
    # The next run finds nothing left over.
    status, said = on_a_terminal(applied.arguments("apply"))
    assert status == 0, said
    assert "org.example.interrupted" in applied.pollers()
    applied.remove("org.example.interrupted")


def test_schedule_submits_and_says_so(applied: Applied, tmp_path: Path) -> None:
    applied.add("org.example.pending", PENDING)
    status, said = on_a_terminal(applied.arguments("apply"))
    assert status == 0, said
    command = ["schedule", "--all", "--repository", str(tmp_path)]
    command += ["--config", str(applied.config), "--fdroiddata", str(applied.data)]
    status, said = on_a_terminal(command)
    assert status == 0, said

    def built() -> bool:
        changes = applied.master.rest("changes")["changes"]
        return any(change["project"] == "org.example.pending" for change in changes)

    wait_for("the change", built)
    applied.remove("org.example.pending")


def watching(applied: Applied, folder: Path) -> list[str]:
    """A `watch` of all that is there now."""
    if not (applied.data / ".git").exists():
        git(applied.data, "init", "-q", "-b", "master")
    git(applied.data, "add", "-A")
    git(applied.data, "commit", "-q", "--allow-empty", "-m", "watched")
    bare = folder / "mirror.git"
    clone = ["git", "clone", "-q", "--bare", str(applied.data), str(bare)]
    subprocess.run(clone, check=True, timeout=PATIENCE)
    arguments = applied.arguments("apply", "--interval", "1", "--quiet-time", "1")
    arguments[0] = "watch"
    arguments[arguments.index("--fdroiddata") + 1] = str(bare)
    return arguments


def test_ctrl_c_ends_watch_at_once(applied: Applied, tmp_path: Path) -> None:
    terminal = Terminal(watching(applied, tmp_path))
    wait_for("the first commit", lambda: b": live after" in terminal.raw)
    terminal.type(b"\x03")
    # It was asked to end, and did.
    assert terminal.end(PATIENCE) in (0, INTERRUPTED, -2)
    assert "org.example.app1" in applied.pollers()


def test_watch_ends_when_nobody_reads_it(applied: Applied, tmp_path: Path) -> None:
    applied.add("org.example.unread")
    words = shlex.join([str(PROGRAM), *watching(applied, tmp_path)])
    script = f"{words} 2>&1 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment({}),
    )
    # It ends by itself, once what it had begun is done.
    first, status = done.stdout.splitlines()
    assert first.startswith("following `master` of ")
    assert status == "1"
    assert "org.example.unread" in applied.pollers()
