# SPDX-License-Identifier: GPL-2.0-or-later
"""`fdroid-bb publish` with the real fdroidserver, real keys and real signatures."""

from __future__ import annotations

import json
import os
import random
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from masters import PATIENCE
from program import PROGRAM
from repository import Repository, make_apk, make_key, sign, signers

PARTLY, NOTHING, REFUSED = 6, 7, 8


@pytest.fixture
def repository(tmp_path: Path, fdroidserver: Path) -> Repository:
    """One with nothing in it."""
    return Repository(tmp_path, fdroidserver)


def test_what_is_built_is_signed_and_in_the_index(repository: Repository) -> None:
    for app in ("org.example.a", "org.example.b"):
        repository.metadata(app)
        repository.built(app)
    # Of the other files of the metadata none matters: fdroidserver refuses this one.
    (repository.path / "metadata/org.example.broken.yml").write_text("Bitcoin: none\n")
    said = repository.lines("publish")
    assert said == [
        "published org.example.a_1",
        "published org.example.b_1",
        "2 versions published, 0 dropped, 0 refused",
    ]
    repo = repository.path / "repo"
    index = json.loads((repo / "signer-index.json").read_text())
    for app in ("org.example.a", "org.example.b"):
        assert signers(repo / f"{app}_1.apk") == [index[app]["signer"]]
        assert (repo / f"{app}_1_src.tar.gz").read_bytes() == b"source"
        assert (repo / f"{app}_1.log.gz").read_bytes() == b"log"
    assert not repository.list("built")
    assert not (repository.path / "unsigned").exists()
    # Built again, it is not published again.
    before = (repo / "org.example.a_1.apk").read_bytes()
    repository.built("org.example.a")
    said = repository.lines("publish", code=NOTHING)
    assert said[0] == "dropped   org.example.a_1: the repository or its archive has it"
    assert (repo / "org.example.a_1.apk").read_bytes() == before
    assert repository.lines("publish", code=NOTHING) == [
        "0 versions published, 0 dropped, 0 refused"
    ]
    (repository.path / "metadata/org.example.broken.yml").unlink()
    update = subprocess.run(
        ["fdroid", "update"],
        cwd=repository.path,
        env=repository.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert update.returncode == 0, update.stdout + update.stderr
    packages = json.loads((repo / "index-v2.json").read_text())["packages"]
    assert set(packages) == {"org.example.a", "org.example.b"}


def test_the_developers_signature_is_published_if_the_apk_is_the_same(
    repository: Repository,
) -> None:
    key = repository.folder / "developer.p12"
    make_key(key, "developer")
    binaries = "Binaries: https://example.org/%v.apk\n"
    for app in ("a.same", "b.other", "c.missing"):
        repository.metadata(app, more=binaries)
        unsigned = repository.built(app)
        # What the developer published has something else in it.
        text = "y" if app == "b.other" else "x"
        apk = make_apk(repository.folder / "made" / app, app, 1, text)
        if app != "c.missing":
            sign(apk, key, "developer", unsigned / "binaries" / f"{app}_1.binary.apk")
    binary = repository.folder / "built/a.same_1/unsigned/binaries/a.same_1.binary.apk"
    expected = binary.read_bytes()
    repository.metadata("d.usual")
    repository.built("d.usual")
    said = repository.lines("publish", code=PARTLY)
    assert said == [
        "published a.same_1",
        "refused   b.other_1: `fdroid publish` failed",
        "refused   c.missing_1: `fdroid publish` failed",
        "published d.usual_1",
        "2 versions published, 0 dropped, 2 refused",
    ]
    assert (repository.path / "repo/a.same_1.apk").read_bytes() == expected
    assert "verification failed" in repository.reason("b.other_1")
    assert "reference binary missing" in repository.reason("c.missing_1")
    # The set is as it was, to be looked at and to be tried again.
    kept = repository.list("refused/b.other_1/unsigned")
    assert kept == {"b.other_1.apk", "b.other_1_src.tar.gz", "binaries"}
    assert {p.name for p in (repository.path / "repo").glob("*.apk")} == {
        "a.same_1.apk",
        "d.usual_1.apk",
    }


def test_a_zip_is_published_as_it_is(repository: Repository) -> None:
    repository.metadata("org.example.ota")
    unsigned = repository.built("org.example.ota")
    (unsigned / "org.example.ota_1.apk").unlink()
    with zipfile.ZipFile(unsigned / "org.example.ota_1.zip", "w") as archive:
        archive.writestr("META-INF/com/google/android/update-binary", "#!/sbin/sh")
    expected = (unsigned / "org.example.ota_1.zip").read_bytes()
    assert repository.lines("publish")[0] == "published org.example.ota_1"
    assert (repository.path / "repo/org.example.ota_1.zip").read_bytes() == expected
    assert (repository.path / "repo/org.example.ota_1_src.tar.gz").exists()
    repository.built("org.example.ota")
    assert repository.lines("publish", code=NOTHING)[0].startswith("dropped   org.example.ota_1")


def test_another_apps_package_never_gets_a_signature(repository: Repository) -> None:
    for app in ("org.example.a", "org.example.b", "org.example.c"):
        repository.metadata(app)
    other = make_apk(repository.folder / "made/other", "org.example.bank", 1)
    repository.built("org.example.a", apk=other)
    older = make_apk(repository.folder / "made/older", "org.example.b", 2)
    repository.built("org.example.b", apk=older)
    # What is compared and published is the developer's APK, so it is looked at too.
    unsigned = repository.built("org.example.c")
    key = repository.folder / "developer.p12"
    make_key(key, "developer")
    sign(other, key, "developer", unsigned / "binaries/org.example.c_1.binary.apk")
    said = repository.lines("publish", code=REFUSED)
    assert said == [
        "refused   org.example.a_1: org.example.a_1.apk says it is `org.example.bank` 1",
        "refused   org.example.b_1: org.example.b_1.apk says it is `org.example.b` 2",
        "refused   org.example.c_1: org.example.c_1.binary.apk says it is `org.example.bank` 1",
        "0 versions published, 0 dropped, 3 refused",
    ]
    assert not list((repository.path / "repo").glob("*.apk"))


def test_a_version_that_the_metadata_disables_is_refused(repository: Repository) -> None:
    repository.metadata("org.example.a")
    file = repository.path / "metadata/org.example.a.yml"
    file.write_text(file.read_text().replace("    commit:", "    disable: tracks\n    commit:"))
    repository.built("org.example.a")
    said = repository.lines("publish", code=REFUSED)
    assert said[0] == "refused   org.example.a_1: the metadata disables this version"
    # Once it is published, nothing says any more that it was refused.
    repository.metadata("org.example.a")
    repository.built("org.example.a")
    assert repository.list("refused") == {"org.example.a_1"}
    assert repository.lines("publish")[0] == "published org.example.a_1"
    assert not repository.list("refused")


def test_what_is_wrong_for_all_is_blamed_on_none(repository: Repository) -> None:
    repository.metadata("org.example.a")
    repository.built("org.example.a")
    keystore = repository.folder / "keystore.p12"
    keystore.rename(repository.folder / "elsewhere")
    done = repository.run("publish")
    assert done.returncode == 1
    assert "`fdroid publish` cannot work in this repository" in done.stderr
    assert "keystore.p12" in done.stderr
    assert repository.list("built") == {"org.example.a_1"}
    (repository.folder / "elsewhere").rename(keystore)
    repository.env, env = {**repository.env, "PATH": "/nonexistent"}, repository.env
    done = repository.run("publish")
    assert done.returncode == 1
    assert "cannot run `fdroid`" in done.stderr
    repository.env = env
    assert repository.lines("publish")[0] == "published org.example.a_1"


def _kill_before(real: Path) -> str:
    return f'[ -n "$3" ] && kill -KILL $PPID\nexec {real} "$@"'


def _kill_after(real: Path) -> str:
    return f'{real} "$@"; ended=$?\n[ -n "$3" ] && kill -KILL $PPID\nexit $ended'


@pytest.mark.parametrize("script", [_kill_before, _kill_after])
def test_a_killed_run_is_made_good_by_the_next(
    repository: Repository, fdroidserver: Path, script: Callable[[Path], str]
) -> None:
    for app in ("a.bad", "b.good"):
        repository.metadata(app)
    repository.built("a.bad", apk=make_apk(repository.folder / "made/x", "org.bank", 1))
    repository.built("b.good")
    wrappers = repository.folder / "bin"
    wrappers.mkdir()
    wrapper = wrappers / "fdroid"
    wrapper.write_text(f"#!/bin/sh\n{script(fdroidserver / 'fdroid')}\n")
    wrapper.chmod(0o755)
    env = repository.env
    repository.env = {**env, "PATH": f"{wrappers}:{env['PATH']}"}
    assert repository.run("publish").returncode == -9
    assert repository.list("refused") == {"a.bad_1"}
    assert not list((repository.path / "repo").glob("*.apk"))
    repository.env = env
    assert repository.lines("publish")[0] == "published b.good_1"
    assert signers(repository.path / "repo/b.good_1.apk")
    assert not repository.list("built")
    assert repository.list("publishing") == {"lock", "ready", "taken"}


def test_a_set_that_is_built_anew_meanwhile_is_another(
    repository: Repository, fdroidserver: Path
) -> None:
    repository.metadata("a.again")
    repository.built("a.again")
    anew = repository.folder / "anew"
    (repository.folder / "built").rename(anew)
    repository.built("a.again")
    wrappers = repository.folder / "bin"
    wrappers.mkdir()
    wrapper = wrappers / "fdroid"
    move = f'[ -n "$3" ] && mv {anew}/a.again_1 {repository.folder}/built/ && exit 1'
    wrapper.write_text(f'#!/bin/sh\n{move}\nexec {fdroidserver}/fdroid "$@"\n')
    wrapper.chmod(0o755)
    env = repository.env
    repository.env = {**env, "PATH": f"{wrappers}:{env['PATH']}"}
    assert (
        repository.lines("publish", code=REFUSED)[0]
        == "refused   a.again_1: `fdroid publish` failed"
    )
    assert repository.list("refused") == repository.list("built") == {"a.again_1"}
    repository.env = env
    assert repository.lines("publish")[0] == "published a.again_1"
    # What a killed run had in hand is published, but for what was built anew since.
    taken = repository.folder / "publishing/taken"
    for app in ("b.killed", "c.again"):
        repository.metadata(app)
        repository.built(app)
        (repository.folder / f"built/{app}_1").rename(taken / f"{app}_1")
    unsigned = repository.built("c.again")
    (unsigned / "c.again_1_src.tar.gz").write_bytes(b"anew")
    assert repository.lines("publish")[:2] == ["published b.killed_1", "published c.again_1"]
    assert (repository.path / "repo/c.again_1_src.tar.gz").read_bytes() == b"anew"
    assert not list(taken.iterdir())


# Reads many APKs in one process.
_ANDROGUARD = """\
import json, logging, sys
from fdroidserver import common
logging.disable(logging.CRITICAL)
for path in sys.stdin.read().split():
    try:
        print(json.dumps(common.get_apk_id_androguard(path)[:2]))
    except BaseException as error:
        print(json.dumps(repr(error)))
"""


def test_fdroidserver_reads_the_same_of_every_apk_that_is_not_refused(
    tmp_path: Path, fdroidserver: Path
) -> None:
    good = make_apk(tmp_path / "made", "org.example.a", 7)
    with zipfile.ZipFile(good) as archive:
        plain = archive.read("AndroidManifest.xml")
    dice = random.Random(12)
    mine = {}
    for i in range(400):
        manifest = bytearray(plain)
        for _ in range(dice.randrange(3)):
            manifest[dice.randrange(len(manifest))] = dice.choice([0, 1, 3, 16, 32, 127, 255])
        path = tmp_path / f"{i}.apk"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("AndroidManifest.xml", bytes(manifest))
        done = subprocess.run(
            [PROGRAM, "apk", path], capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode in (0, 1), done
        if done.returncode == 0:
            found = json.loads(done.stdout)
            mine[path] = [found["package"], found["versionCode"]]
    assert len(mine) > 200
    theirs = subprocess.run(
        [fdroidserver / "python", "-c", _ANDROGUARD],
        input="\n".join(map(os.fspath, mine)),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    read = [json.loads(line) for line in theirs.stdout.splitlines()]
    # Where fdroidserver cannot read it at all, it does not publish it.
    assert len(read) == len(mine)
    differ = [(a, b) for a, b in zip(mine.values(), read, strict=True) if a != b]
    assert [pair for pair in differ if not isinstance(pair[1], str)] == []
