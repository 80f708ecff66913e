# SPDX-License-Identifier: GPL-2.0-or-later
"""`fdroid-bb shadow-report` beside what the real fdroidserver published and indexed."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from masters import PATIENCE
from repository import Repository, make_apk, make_key, sign

APPS = ("a.same", "b.other", "c.gone", "d.reproducible", "f.broken")
PATCH = """\
diff --git a/metadata/APP.yml b/metadata/APP.yml
--- a/metadata/APP.yml
+++ b/metadata/APP.yml
@@ -1,2 +1,2 @@
-CurrentVersionCode: 1
+CurrentVersionCode: CODE
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, fdroidserver: Path) -> Repository:
    """Five apps that were published, and a shadow's builds of four of them, and of another."""
    repository = Repository(tmp_path_factory.mktemp("shadow"), fdroidserver)
    folder = repository.folder
    make_key(folder / "developer.p12", "developer")
    for app in APPS:
        binaries = "Binaries: https://example.org/%v.apk\n" if app == "d.reproducible" else ""
        more = f"{binaries}CurrentVersion: '1'\nCurrentVersionCode: 1\n"
        repository.metadata(app, more=more)
        unsigned = repository.built(app)
        if binaries:
            apk = unsigned / f"{app}_1.apk"
            sign(
                apk,
                folder / "developer.p12",
                "developer",
                unsigned / f"binaries/{app}_1.binary.apk",
            )
    kept = folder / "kept"
    shutil.copytree(folder / "built", kept)
    done = repository.run("publish")
    assert done.returncode == 0, done.stdout + done.stderr
    update = subprocess.run(
        ["fdroid", "update"],
        cwd=repository.path,
        env=repository.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert update.returncode == 0, update.stdout + update.stderr
    other = make_apk(folder / "made/other", "b.other", 1, "y")
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("assets/only-here", "four")
    shutil.copy(other, kept / "b.other_1/unsigned/b.other_1.apk")
    (kept / "f.broken_1/unsigned/f.broken_1.apk").write_bytes(b"PK")
    shutil.rmtree(kept / "c.gone_1")
    shutil.rmtree(folder / "built")
    kept.rename(folder / "built")
    repository.built("e.new")
    return repository


def report(world: Repository, *more: str, code: int = 0) -> str:
    """What is said of what the shadow built."""
    index = str(world.path / "repo/index-v2.json")
    done = world.run("shadow-report", "--index", index, *more, "../built")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_was_built_is_compared_with_what_was_published(world: Repository) -> None:
    said = report(world, "--published", "repo", "--days", "1")
    assert said.splitlines()[0] == (
        "6 versions: 1 differs, 1 unreadable, 1 not built, 1 not published, 2 same"
    ), said
    assert "differs       b.other_1: 2 files\n" in said
    assert "  assets/only-here: built 4 bytes, published none\n" in said
    assert "unreadable    f.broken_1: it is no sound ZIP archive" in said
    assert "not built     c.gone_1\n" in said
    assert "not published e.new_1\n" in said
    assert "a.same" not in said


def test_what_cannot_be_compared_says_where_it_can_be_had(world: Repository) -> None:
    found = json.loads(report(world, "--format", "json"))
    assert found["versions"]["a.same_1"] == {
        "is": "missing",
        "url": "https://example.org/fdroid/repo/a.same_1.apk",
    }
    # The build has fetched the developer's, which is what was published.
    assert found["versions"]["d.reproducible_1"] == {"is": "same"}
    assert "help: download what was not compared" in report(world)
    # One that is damaged is none.
    folder = world.folder / "mirror"
    folder.mkdir()
    (folder / "a.same_1.apk").write_bytes(b"damaged")
    assert "not compared  a.same_1: https" in report(world, "--published", str(folder))


def test_updates_are_compared_with_fdroiddata(world: Repository) -> None:
    updates = world.folder / "updates"
    updates.mkdir()
    for app, code in (("a.same", 1), ("b.other", 2), ("x.unknown", 3)):
        patch = PATCH.replace("APP", app).replace("CODE", str(code))
        (updates / f"{app}.patch").write_text(patch)
    (updates / "c.gone.patch").touch()
    config = world.folder / "fdroid-bb.toml"
    config.write_text(
        'base = "f-droid"\nchoices.build.chosen = "whole"\nchoices.updates.chosen = "push"\n'
    )
    said = report(world, "--updates", str(updates), "--config", str(config))
    assert "3 updates: 1 as in fdroiddata, 2 not\n" in said
    assert "update        b.other: found 2, fdroiddata has 1\n" in said
    assert "update        x.unknown: found 3, fdroiddata has no such app\n" in said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"repo": {"address": 1, "timestamp": 1}, "packages": {}}',
        '{"repo": {"address": "x", "timestamp": 1}, "packages": ' + '{"a": ' * 200,
    ],
)
def test_what_is_no_index_is_refused(world: Repository, tmp_path: Path, text: str) -> None:
    index = tmp_path / "index.json"
    index.write_text(text)
    done = world.run("shadow-report", "--index", str(index), "../built")
    assert done.returncode == 1
    assert "help: give the `index-v2.json`" in done.stderr


def test_no_name_of_an_index_leads_elsewhere(world: Repository, tmp_path: Path) -> None:
    index = json.loads((world.path / "repo/index-v2.json").read_text())
    for version in index["packages"]["a.same"]["versions"].values():
        version["file"]["name"] = "/../repo/a.same_1.apk"
    path = tmp_path / "index.json"
    path.write_text(json.dumps(index))
    done = world.run("shadow-report", "--index", str(path), "--published", "repo", "../built")
    assert "not published a.same_1\n" in done.stdout
