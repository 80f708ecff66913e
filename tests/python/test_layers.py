# SPDX-License-Identifier: GPL-2.0-or-later
"""The rooms of the runtime import only what their docstrings allow, and nothing in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from masters import TEMPLATES

PACKAGE = TEMPLATES / "fdroid_bb"
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE
}
ROOMS = sorted({name.partition("/")[0] for name in MODULES})


def allowed(room: str) -> list[str]:
    """The rooms that the docstring of a room lets it import."""
    text = (PACKAGE / room / "__init__.py").read_text()
    found = re.search(r"^May import: (.+)\.$", ast.get_docstring(ast.parse(text)) or "", re.M)
    assert found, f"the docstring of {room} does not say what it may import"
    return [] if found[1] == "no room" else found[1].split(", ")


def imports(module: str, text: str) -> Iterator[str]:
    """The modules of the package that one of them imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith(PACKAGE.name) for name in node.names), module
        elif isinstance(node, ast.ImportFrom) and node.level:
            # Where the import starts: the folder of this module, or above it.
            parts = ["fdroid_bb", *module.split("/")][: -node.level]
            base = "/".join([*parts, *(node.module or "").split(".")][1:]).strip("/")
            for name in node.names:
                inside = f"{base}/{name.name}".strip("/")
                yield inside if inside in MODULES else base
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith(PACKAGE.name), module


FOUND = {module: sorted(imports(module, path.read_text())) for module, path in MODULES.items()}


def test_imports_are_read() -> None:
    text = "from . import hosts\ndef f():\n    from ..common.output import Part\n    import os\n"
    assert list(imports("polling/report", text)) == ["polling/hosts", "common/output"]
    assert "common/process" in FOUND["polling/ls_remote"]


def test_what_may_be_imported_is_a_room() -> None:
    for room in ROOMS:
        assert set(allowed(room)) <= set(ROOMS) - {room}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may_and_what_it_may_is_imported(room: str) -> None:
    used = {
        name.partition("/")[0]
        for module, names in FOUND.items()
        if module.startswith(f"{room}/")
        for name in names
    }
    assert "" not in used, "the package imports its rooms, not they it"
    assert used - {room} == set(allowed(room))


def test_nothing_is_imported_in_a_circle() -> None:
    """Of modules; then of rooms, so that each can be read without those that use it."""
    list(TopologicalSorter(FOUND).static_order())
    list(TopologicalSorter({room: allowed(room) for room in ROOMS}).static_order())


def test_modules_are_in_rooms() -> None:
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]
    assert not [path for path in PACKAGE.rglob("*.py") if path.parent.parent.parent == PACKAGE]


def test_the_package_has_what_masters_use_and_nothing_else() -> None:
    """Each name once in `__all__`, and there because the compiler writes it."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imported = {
        name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    (listed,) = (ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign))
    patches = {"command_limits", "crashed", "ends", "headers", "plain_log", "reconfig", "rest"}
    assert imported - patches == set(listed)
    written = (Path(TEMPLATES).parent / "src/render.rs").read_text()
    written += (TEMPLATES / "pollers.py.j2").read_text()
    assert not [name for name in listed if not re.search(rf"\b{name}\b", written)]
