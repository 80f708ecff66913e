# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command on a real terminal: it ends, leaves nothing behind, and says what a pipe gets.

The progress bar is drawn from all threads at once, as it otherwise is only on a busy machine.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from applied import CONFIG, git
from masters import PATIENCE
from program import PROGRAM
from terminal import Terminal, environment

APPS = 600

APP = """\
RepoType: git
Repo: https://git.example.org/NAME.git
UpdateCheckMode: Tags
Builds:
  - versionName: '1.0'
    versionCode: 1
    commit: v1
CurrentVersion: '1.0'
CurrentVersionCode: 1
"""

# Those that read the apps. All of them run in a folder of their own.
READING = (
    "check",
    "check --report junit=report.xml",
    "apps",
    "apps --format json",
    "capacity",
    "generate --out out",
    "generate --out out --format json",
    "plan --out out",
    "diff HEAD~1 HEAD",
    "explain org.example.app7",
    "schedule --all --dry-run",
)

OTHERS = (
    "--help",
    "check --help",
    "no-command",
    "graph",
    "graph --format dot",
    "schema",
    "completions bash",
    "man pages",
    "init --config new.toml",
    "explain repo-refused",
    "explain no.such.app --fdroiddata /nonexistent",
    "check --config /nonexistent",
    "rollback --list --out out",
)


class Data:
    """fdroiddata in git, some of it broken, and its description."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "fdroiddata"
        (self.data / "metadata").mkdir(parents=True)
        for number in range(APPS):
            name = f"org.example.app{number}"
            (self.data / f"metadata/{name}.yml").write_text(APP.replace("NAME", name))
        git(self.data, "init", "-q", "-b", "master")
        git(self.data, "add", "-A")
        git(self.data, "commit", "-q", "-m", "first")
        for number in range(0, APPS, 40):
            (self.data / f"metadata/org.example.app{number}.yml").write_text("Repo: [\n")
        git(self.data, "add", "-A")
        git(self.data, "commit", "-q", "-m", "second")
        self.config = folder / "fdroid-bb.toml"
        self.config.write_text(CONFIG.replace("WWW_PORT", "8010").replace("PB_PORT", "9989"))
        self._runs = 0

    def fresh(self) -> Path:
        """An empty folder to run in."""
        self._runs += 1
        folder = self.folder / f"run{self._runs}"
        folder.mkdir()
        return folder

    def arguments(self, command: str) -> list[str]:
        """The words of a command that reads this, unless it says otherwise."""
        words = shlex.split(command)
        for option, value in (("--config", self.config), ("--fdroiddata", self.data)):
            if option not in words and not {"--help", "no-command"} & set(words):
                words += [option, str(value)]
        return words

    def piped(self, command: str, env: dict[str, str]) -> tuple[int, list[str]]:
        """How it ends, and what it says where both streams are one pipe."""
        done = subprocess.run(
            [PROGRAM, *self.arguments(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.fresh(),
            env=environment(env),
            timeout=PATIENCE,
        )
        return done.returncode, steady(done.stdout.decode().split("\n"))


def steady(lines: list[str]) -> list[str]:
    """Without what differs between two runs."""
    lines = [line for line in lines if not line.startswith(("took ", "  polled "))]
    return [re.sub(r'"milliseconds":\d+', "", line).rstrip() for line in lines]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("terminal"))


@pytest.mark.parametrize("command", READING)
def test_a_command_that_reads_ends_and_says_the_same_as_to_a_pipe(data: Data, command: str) -> None:
    cache = {"XDG_CACHE_HOME": str(data.fresh())}
    expected = data.piped(command, {"XDG_CACHE_HOME": str(data.fresh())})
    drawn = 0
    # The first run has nothing in its cache, the others all.
    for columns in (80, 40, 80):
        terminal = Terminal(data.arguments(command), columns=columns, cwd=data.fresh(), env=cache)
        status = terminal.end()
        assert (status, steady(terminal.screen())) == expected
        assert all(len(bar) <= columns for bar in terminal.bars())
        assert terminal.bars() or drawn, "the first run draws a bar"
        drawn += len(terminal.bars())


@pytest.mark.parametrize("command", OTHERS)
def test_so_does_one_that_does_not(data: Data, command: str) -> None:
    expected = data.piped(command, {})
    for columns in (80, 40):
        terminal = Terminal(data.arguments(command), columns=columns, cwd=data.fresh())
        status = terminal.end()
        if "help" in command or "no-command" in command:
            # The lines are broken at the terminal's width.
            assert status == expected[0]
            assert " ".join(terminal.screen()).split() == " ".join(expected[1]).split()
        else:
            assert (status, steady(terminal.screen())) == expected


@pytest.mark.parametrize("command", [c for c in READING if "schedule" not in c])
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_ctrl_c_in_the_middle_ends_it_at_once(data: Data, command: str, cache: str) -> None:
    folder = data.fresh()
    env = {"XDG_CACHE_HOME": str(folder / "cache")}
    if cache == "warm":
        data.piped(command, env)
    terminal = Terminal(data.arguments(command), stopped=True, cwd=folder, env=env)
    terminal.wait_until_held()
    terminal.type(b"\x03")
    assert terminal.end(10) == -signal.SIGINT
    assert not (folder / "report.xml").exists()
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert [name for name in left if cache == "cold"] == [], "it was in the middle of reading"
    # Nothing of it is in the way of the next run.
    terminal = Terminal(data.arguments(command), cwd=folder, env=env)
    assert terminal.end() == data.piped(command, env)[0]


@pytest.mark.parametrize("command", [*READING, *OTHERS])
@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_reader_that_has_gone_changes_nothing(data: Data, command: str, streams: str) -> None:
    expected = data.piped(command, {})[0]
    folder = data.fresh()
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [PROGRAM, *data.arguments(command)],
        stdout=theirs,
        stderr=theirs if streams == "both" else subprocess.PIPE,
        cwd=folder,
        env=environment({}),
        timeout=PATIENCE,
    )
    os.close(theirs)
    said = (done.stderr or b"").decode()
    assert done.returncode == expected
    assert not re.search("panic|[Bb]roken pipe|cannot be written", said), said
    if command.startswith("generate"):
        assert (folder / "out/masters/manifest.json").exists()
    if "report" in command:
        assert (folder / "report.xml").exists()


def test_head_takes_what_it_wants(data: Data) -> None:
    words = shlex.join([PROGRAM, *data.arguments("apps")])
    script = f"{words} | head -4; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment({}),
    )
    lines = done.stdout.splitlines()
    assert (len(lines), lines[-1]) == (5, "0")
    assert len(done.stderr.splitlines()) == 1, done.stderr
