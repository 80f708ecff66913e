# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache of what was read: whatever became of it, the result is that of a full compile."""

from __future__ import annotations

import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from masters import PATIENCE, ROOT
from program import PROGRAM

COMMITS = 500

# Which of them are compiled in full too: what is kept wrongly stays so until its file changes.
EACH = 5

# A folder that cannot be made, so nothing is cached.
NOWHERE = Path("/dev/null/cache")


def check(data: Path, cache: Path, *more: str) -> tuple[str, str]:
    """What `check` finds, and how many apps; without the time it took."""
    done = subprocess.run(
        [PROGRAM, "check", "--config", ROOT / "fdroid-bb.toml", "--fdroiddata", data, *more],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr, done.stdout.rpartition("took")[0]


def output(data: Path, cache: Path, out: Path, *more: str) -> dict[str, bytes]:
    """The files that `generate` writes, and what it found."""
    inputs = ["--config", str(ROOT / "fdroid-bb.toml"), "--fdroiddata", str(data)]
    done = subprocess.run(
        [PROGRAM, "generate", *inputs, "--out", str(out), "--accept-vanishing", *more],
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    assert done.returncode == 0, done.stderr[-2000:].decode()
    files = {p.name: p.read_bytes() for p in sorted((out / "masters").glob("*/*.*"))}
    return {**files, "findings": done.stderr}


@pytest.fixture(scope="module")
def bare(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus as a bare repository."""
    bare = tmp_path_factory.mktemp("bare") / "fdroiddata.git"
    clone = ["git", "clone", "-q", "--bare", str(corpus), str(bare)]
    subprocess.run(clone, check=True, timeout=PATIENCE)
    return bare


def test_over_500_commits_the_result_is_that_of_a_full_compile(bare: Path, tmp_path: Path) -> None:
    log = ["git", "-C", str(bare), "rev-list", "--first-parent", f"-{COMMITS}", "HEAD"]
    done = subprocess.run(log, capture_output=True, text=True, check=True, timeout=PATIENCE)
    commits = done.stdout.split()[::-1]
    assert len(commits) == COMMITS
    different = set()
    with ThreadPoolExecutor(2) as pool:
        for number, commit in enumerate(commits, 1):
            rev = ("--rev", commit)
            cached = pool.submit(output, bare, tmp_path / "cache", tmp_path / "cached", *rev)
            if number % EACH == 0:
                full = output(bare, NOWHERE, tmp_path / "full", *rev)
                assert cached.result() == full, commit
            different.add(cached.result()["pollers.py"])
    assert len(different) > 20, "the history changes what is compiled"


def test_a_checkout_is_known_by_what_its_files_look_like(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "fdroiddata"
    clone = ["git", "clone", "-q", "-s", str(corpus), str(data)]
    subprocess.run(clone, check=True, timeout=PATIENCE)
    # What was touched a moment ago is not yet known by its looks.
    time.sleep(3)
    cache = tmp_path / "cache"
    git = ["git", "-C", str(data)]
    for rev in ("HEAD~40", "HEAD~20", "HEAD~40", "HEAD"):
        subprocess.run([*git, "checkout", "-q", rev], check=True, timeout=PATIENCE)
        full = check(data, NOWHERE)
        assert check(data, cache) == full
        assert check(data, cache) == full
    # The same size at the same time, as an editor may leave it.
    file = data / "metadata/org.fdroid.fdroid.yml"
    text = file.read_text()
    stat = file.stat()
    file.write_text(text.replace("UpdateCheckMode: ", "UpdateCheckMoor: "))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    full = check(data, NOWHERE)
    assert "UpdateCheckMoor" in full[0]
    assert check(data, cache) == full


def test_a_damaged_cache_is_none(bare: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    full = check(bare, NOWHERE)
    assert check(bare, cache) == full
    file = cache / "fdroid-bb/blobs"
    whole = file.read_bytes()
    dice = random.Random(1)
    damaged = [whole[:length] for length in (0, 10, 60, len(whole) // 2, len(whole) - 1)]
    for _ in range(5):
        at = dice.randrange(len(whole))
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    damaged.append(whole.replace(b"fdroid-bb ", b"fdroid-bb 9", 1))
    for bytes_ in damaged:
        file.write_bytes(bytes_)
        assert check(bare, cache) == full
        assert file.read_bytes() == whole, "it is written anew"
    file.unlink()
    file.mkdir()
    assert check(bare, cache) == full


def test_what_is_new_is_added_and_does_not_pile_up(bare: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    file = cache / "fdroid-bb/blobs"
    full = {n: check(bare, NOWHERE, "--rev", f"HEAD~{n}") for n in (30, 1, 0)}
    sizes: list[int] = []
    for n in range(30, -1, -1):
        before = file.read_bytes() if sizes else b""
        found = check(bare, cache, "--rev", f"HEAD~{n}")
        if n in full:
            assert found == full[n]
        now = file.read_bytes()
        assert now.startswith(before), "the rest is not touched"
        sizes.append(len(now))
    assert sizes[-1] < sizes[0] * 1.05
    # The last part cut short, wrong, and of another version that did not see the first line.
    whole = file.read_bytes()
    for bytes_ in (whole[:-1], whole[:-9] + b"?" + whole[-8:], whole + whole[-80:]):
        file.write_bytes(bytes_)
        assert check(bare, cache) == full[0]
    # What no branch has any more is forgotten in time.
    for n in range(31, 900, 40):
        check(bare, cache, "--rev", f"HEAD~{n}")
    assert file.stat().st_size < sizes[0] * 1.5


def test_findings_are_kept_as_they_were(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "fdroiddata"
    subprocess.run(
        ["git", "clone", "-q", "-s", str(corpus), str(data)], check=True, timeout=PATIENCE
    )
    long = ["Categories:"] + [f"NoField{n}: 1" for n in range(30)]
    texts = {
        "a.broken.one": ["Repo: [", "\u202e: \x1b[1m"],
        "a.many.findings": long,
        "a.srclib.missing": ["RepoType: srclib", "Repo: None", "UpdateCheckMode: Tags"],
        "a.refused": ["RepoType: git", "Repo: ext::sh", "UpdateCheckMode: Tags"],
        "9.no.id": ["Repo: https://example.com/x.git"],
    }
    for name, text in texts.items():
        (data / f"metadata/{name}.yml").write_text("\n".join(text) + "\n")
    time.sleep(3)
    cache = tmp_path / "cache"
    full = check(data, NOWHERE)
    for name in texts:
        assert name in full[0]
    assert "Repo: ext::sh" in full[0], "the line is shown"
    assert check(data, cache) == full
    kept = (cache / "fdroid-bb/blobs").stat()
    assert check(data, cache) == full
    assert (cache / "fdroid-bb/blobs").stat().st_mtime_ns == kept.st_mtime_ns, "all was known"
    # A srclib that comes changes what apps are decided to be, not what they say.
    (data / "srclibs/None.yml").write_text("RepoType: git\nRepo: https://example.com/x.git\n")
    full = check(data, NOWHERE)
    for _ in range(2):
        assert check(data, cache) == full


def test_another_description_decides_anew(bare: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    full = check(bare, NOWHERE)
    assert check(bare, cache) == full
    config = tmp_path / "other.toml"
    text = (ROOT / "fdroid-bb.toml").read_text()
    config.write_text(f'{text}apps.update-check-modes = ["Tags", "RepoManifest"]\n')
    command = [PROGRAM, "check", "--config", str(config), "--fdroiddata", str(bare)]
    other = [
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "XDG_CACHE_HOME": str(where)},
        ).stdout.rpartition("took")[0]
        for where in (NOWHERE, cache, cache)
    ]
    assert other[0] == other[1] == other[2] != full[1]
    assert check(bare, cache) == full


def test_runs_beside_each_other_do_not_harm_it(bare: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    full = check(bare, NOWHERE)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: check(bare, cache), range(12)):
            assert found == full
    assert [path.name for path in (cache / "fdroid-bb").iterdir()] == ["blobs"]


def test_who_has_no_home_gets_none_made(bare: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = ROOT / "fdroid-bb.toml"
    done = subprocess.run(
        [PROGRAM, "check", "--config", str(config), "--fdroiddata", str(bare)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    assert not home.exists()
    assert (done.stderr, done.stdout.rpartition("took")[0]) == check(bare, NOWHERE)
