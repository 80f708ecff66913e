# SPDX-License-Identifier: GPL-2.0-or-later
"""What README.md shows is what happens.

A block fenced as `sh` holds commands. In one fenced as `console`, lines that begin with `$ ` are
commands, and what follows them is what they print; a line `...` stands for any lines, and `...`
within one for any text. A block fenced as `toml whole` is a description that `check` accepts, one
fenced as `toml` is TOML.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from masters import PATIENCE, ROOT, apart, ask_inside, wait_for
from program import fdroid_bb

README = ROOT / "README.md"


class Block(NamedTuple):
    """What stands between fences."""

    info: str
    text: str
    line: int


def blocks() -> list[Block]:
    """All of them; none if there is no README.md, which a test tells."""
    text = README.read_text() if README.exists() else ""
    found = re.finditer(r"(?ms)^```([^\n`]*)\n(.*?)^```$", text)
    return [Block(m[1].strip(), m[2], text.count("\n", 0, m.start()) + 1) for m in found]


def of_kind(*infos: str) -> list[Any]:
    """The blocks of some kinds, named by their lines."""
    return [pytest.param(b, id=f"line-{b.line}") for b in blocks() if b.info in infos]


def words(command: str) -> list[str]:
    """A command, with the program that is tested for its name."""
    first, *rest = shlex.split(command, comments=True)
    if first in ("fdroid-bb", "./target/release/fdroid-bb", "target/release/fdroid-bb"):
        first = os.environ.get("FDROID_BB", str(ROOT / "target/release/fdroid-bb"))
    return [first, *rest]


def known_to_dev(argv: list[str]) -> bool:
    """Whether `./dev help` lists the command."""
    helped = subprocess.run(["./dev", "help"], cwd=ROOT, capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr
    listed = re.findall(r"^  (\w+)", helped.stdout, re.MULTILINE)
    return len(argv) > 1 and argv[1] in listed


def run(command: str) -> str:
    """What a command prints. Those of ./dev take minutes, and have tests of their own."""
    argv = words(command)
    if argv[0] == "./dev":
        assert known_to_dev(argv), f"./dev does not know: {command}"
        return ""
    if argv[:2] == ["cargo", "build"]:
        assert (ROOT / "Cargo.toml").exists()
        return ""
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def matches(expected: str, printed: str) -> bool:
    """Whether the output is the one shown, with its wildcards."""
    lines = expected.rstrip("\n").split("\n")
    pattern = ""
    for line in lines:
        if line == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None


def test_there_is_a_readme() -> None:
    assert README.exists(), f"{README} is missing"
    kinds = {block.info for block in blocks()}
    assert {"sh", "console", "toml whole"} <= kinds


@pytest.mark.parametrize("block", of_kind("sh"))
def test_commands(block: Block) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        if shlex.split(line, comments=True):
            run(line)


@pytest.mark.parametrize("block", of_kind("console"))
def test_commands_and_what_they_print(block: Block) -> None:
    _, *parts = re.split(r"(?m)^\$ ", block.text.replace("\\\n", " "))
    assert parts, "a console block without a command"
    for part in parts:
        command, _, expected = part.partition("\n")
        printed = run(command)
        if words(command)[0] != "./dev":
            assert matches(expected, printed), f"{command}\n{printed}"


@pytest.mark.parametrize("block", of_kind("toml whole"))
def test_whole_descriptions(block: Block, tmp_path: Path) -> None:
    config = tmp_path / "fdroid-bb.toml"
    config.write_text(block.text)
    fdroid_bb("check", "--config", config, "--fdroiddata", "example/fdroiddata", "--deny-warnings")


@pytest.mark.parametrize("block", of_kind("toml", "toml whole"))
def test_what_looks_like_toml_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README.read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_demo(tmp_path: Path) -> None:
    # Building comes first, which `./dev test` has done already.
    # In a network of its own, so that somebody else's demo is not in the way.
    command = apart(["./dev", "demo", str(tmp_path / "demo")])
    with (tmp_path / "log").open("w") as log:
        demo = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:

        def ready() -> bool:
            said = (tmp_path / "log").read_text()
            assert demo.poll() is None, said
            return "Ctrl-C stops it" in said

        wait_for("the demo", ready, 600)
        said = (tmp_path / "log").read_text()
        assert "http://localhost:8010/" in said
        page = ask_inside(demo.pid, 8010, "GET", "/", None, {})
        assert page.status == 200
        assert "<title>" in page.text
        builders = ask_inside(demo.pid, 8010, "GET", "/api/v2/builders", None, {})
        assert '"name": "checkupdates"' in builders.text
        pids = processes_of(tmp_path)
        assert pids
        # As a terminal does for Ctrl-C.
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(PATIENCE) == 0
        wait_for("its processes to end", lambda: not processes_of(tmp_path), 20)
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGTERM)
            demo.wait(PATIENCE)


def processes_of(folder: Path) -> list[int]:
    """The processes that have this folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
