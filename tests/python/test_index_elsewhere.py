# SPDX-License-Identifier: GPL-2.0-or-later
"""The second trip: the index goes to the machine that has the keys, and comes back signed."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from masters import PATIENCE
from repository import make_key
from two_machines import Two, repack

JARS = ("index.jar", "index-v1.jar", "entry.jar")


@pytest.fixture
def two(tmp_path: Path, fdroidserver: Path) -> Two:
    """Both, with an app that was signed, and an unsigned index on its way."""
    two = Two(tmp_path, fdroidserver)
    two.metadata("org.example.a")
    two.here.built("org.example.a")
    two.send()
    two.sign()
    assert two.publish()[0] == "published org.example.a_1"
    assert two.take() == "no index was signed yet"
    two.update()
    return two


def signed(jar: Path, keystore: Path, alias: str, files: dict[str, bytes]) -> None:
    """Put a JAR of these files, signed by that key, in the place of another."""
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    command = f"jarsigner -keystore {keystore} -storepass throwaway {jar} {alias}"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=PATIENCE)


def checked(two: Two, jar: Path) -> dict[str, object]:
    """What fdroidserver, as a client, reads in an index that must be signed with the key."""
    script = (
        "import json, sys; from fdroidserver import common, index; common.config = "
        "{'jarsigner': 'jarsigner'}; print(json.dumps(index.get_index_from_jar("
        "sys.argv[1], sys.argv[2], allow_deprecated=True)[0]))"
    )
    config = (two.here.path / "config.yml").read_text()
    key = config.partition("repo_key_sha256: ")[2].split()[0]
    command = [str(two.fdroidserver / "python"), "-c", script, str(jar), key]
    done = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_index_there_and_back(two: Two) -> None:
    repo = two.here.path / "repo"
    assert two.sign()[-2] == "signed    index"
    assert two.take() == ""
    entry = checked(two, repo / "entry.jar")
    assert entry == json.loads((repo / "entry.json").read_text())
    assert "org.example.a" in str(checked(two, repo / "index-v1.jar"))
    for section in ("repo", "archive"):
        assert {path.name for path in (two.here.path / section).glob("*.jar")} >= set(JARS)
        assert not (two.here.path / section / "index_unsigned.jar").exists()
    assert not two.here.list("inbox")
    assert not two.here.list("outbox")
    # It may be deployed again.
    assert two.take() == ""
    # A file that it names is gone.
    apk = repo / "org.example.a_1.apk"
    shutil.move(apk, two.carried)
    assert two.take() == "repo/org.example.a_1.apk is not what the index says"
    shutil.move(two.carried / apk.name, apk)
    # The next index replaces it, and is not signed yet.
    two.update()
    assert two.take() == "the index is not signed: archive/entry.json is another one since"
    # What was signed for the last one is not for this one.
    two.carry_back()
    assert two.take().startswith("refused: it is ")
    assert "older than the index that was sent last" in two.here.reason("index")
    two.sign()
    assert two.take() == ""


Tamper = Callable[[Two, Path, Path], None]


def _entry(two: Two, back: Path, _: Path) -> None:
    """Signed with the right key, but of another content."""
    keystore = two.there.folder / "keystore.p12"
    data = (back / "repo/entry.json").read_bytes().replace(b'"numPackages": 1', b'"numPackages": 2')
    signed(back / "repo/entry.jar", keystore, "repokey", {"entry.json": data})


def _signer(_: Two, back: Path, other: Path) -> None:
    data = (back / "repo/entry.json").read_bytes()
    signed(back / "repo/entry.jar", other, "other", {"entry.json": data})


def _more(two: Two, back: Path, _: Path) -> None:
    keystore = two.there.folder / "keystore.p12"
    data = (two.here.path / "archive/index-v1.json").read_bytes()
    files = {"index-v1.json": data, "more.json": b"{}"}
    signed(back / "archive/index-v1.jar", keystore, "repokey", files)


def _unsigned(two: Two, back: Path, _: Path) -> None:
    shutil.copy(two.here.path / "repo/index_unsigned.jar", back / "repo/index.jar")


def _missing(_: Two, back: Path, __: Path) -> None:
    (back / "repo/entry.jar").unlink()
    manifest = json.loads((back / "manifest.json").read_text())
    del manifest["files"]["repo/entry.jar"]
    (back / "manifest.json").write_text(json.dumps(manifest))


def _unasked(_: Two, back: Path, __: Path) -> None:
    (back / "repo/index.html").write_text("x")
    manifest = json.loads((back / "manifest.json").read_text())
    manifest["files"]["repo/index.html"] = ""
    (back / "manifest.json").write_text(json.dumps(manifest))


TAMPERED = [
    (_entry, "repo/entry.jar: it has another content than what was sent"),
    (_signer, "repo/entry.jar: its signer is not `repo_pubkey` of config.yml"),
    (_more, "archive/index-v1.jar: it has another content than what was sent"),
    (_unsigned, "repo/index.jar: its signature is not good"),
    (_missing, "there is no repo/entry.jar"),
    (_unasked, "it has a file `repo/index.html`, which nobody asked for"),
]


def test_an_index_that_was_changed_is_refused(two: Two) -> None:
    two.sign()
    back = two.back("index")
    other = two.here.folder / "other.p12"
    make_key(other, "other")
    before = {path: path.read_bytes() for path in two.here.path.rglob("*.jar")}
    for tamper, why in TAMPERED:
        tamper(two, back, other)
        repack(back)
        assert two.take() == f"refused: {why}"
        assert two.here.reason("index") == why
        assert {path: path.read_bytes() for path in two.here.path.rglob("*.jar")} == before
        # It is still asked for.
        two.carry_back()
    assert two.take() == ""


def test_what_is_not_packed_or_not_asked_for_is_refused(two: Two) -> None:
    two.sign()
    back = two.back("index")
    (back / "repo/entry.jar").write_bytes(b"x")
    assert two.take() == "refused: `repo/entry.jar` is not what was packed"
    two.carry_back()
    for number in range(32):
        (back / str(number)).touch()
    assert two.take() == "refused: it has more than 32 files"
    two.carry_back()
    with (back / "sparse").open("wb") as file:
        file.truncate(8 << 30)
    assert two.take() == "refused: it has more than 8 GiB"
    two.carry_back()
    (back / "manifest.json").unlink()
    assert two.take() == "refused: it has no manifest.json"
    two.carry_back()
    shutil.move(back, two.here.folder / "elsewhere")
    back.symlink_to(two.here.folder / "elsewhere")
    assert two.take() == "refused: it is no folder"
    # Made anew, but not sent.
    two.carry_back()
    entry = two.here.path / "repo/entry.json"
    entry.write_text(entry.read_text() + "\n")
    assert two.take() == "refused: the repository has another repo/entry.json since it was sent"
    entry.write_text(entry.read_text().rstrip("\n"))
    two.carry_back()
    shutil.move(two.here.folder / "outbox/index", two.here.folder / "sent")
    assert two.take() == "refused: nobody asked for it: the outbox has no index"


def test_the_signing_machine_checks_the_index(two: Two) -> None:
    sent = two.here.folder / "outbox/index"
    kept = two.here.folder / "kept"
    shutil.copytree(sent, kept)
    with (sent / "repo/index-v1.json").open("a") as file:
        file.write(" ")
    [said, _] = two.sign(code=6)
    assert said == "refused   index: `repo/index-v1.json` is not what was packed"
    # What fdroidserver refuses: the list that clients read is not the one that entry.json names.
    shutil.copy(kept / "repo/index-v1.json", sent / "repo/index-v1.json")
    with (sent / "repo/index-v2.json").open("a") as file:
        file.write(" ")
    repack(sent)
    assert two.sign(code=6)[-2] == "refused   index: `fdroid signindex` failed"


def test_a_killed_take_is_made_good_by_the_next(two: Two) -> None:
    """What it leaves after some of its steps, each of which is one rename."""
    two.sign()
    receiving = two.here.folder / "publishing/receiving"
    jars = [f"{section}/{jar}" for section in ("repo", "archive") for jar in JARS]
    for moved in (0, 1, len(jars)):
        shutil.rmtree(receiving, ignore_errors=True)
        shutil.rmtree(two.here.folder / "publishing/signed", ignore_errors=True)
        shutil.copytree(two.carried / "in/index", receiving)
        shutil.rmtree(two.here.folder / "outbox/index", ignore_errors=True)
        shutil.copytree(two.carried / "out/index", two.here.folder / "outbox/index")
        for jar in jars[:moved]:
            (receiving / jar).rename(two.here.path / jar)
        if moved == len(jars):
            (two.here.folder / "outbox/index").rename(two.here.folder / "publishing/signed")
        else:
            for jar in jars[moved:]:
                (two.here.path / jar).unlink(missing_ok=True)
        shutil.rmtree(two.back("index"), ignore_errors=True)
        assert two.take() == ""
        for jar in jars:
            if not jar.endswith("/index.jar"):
                checked(two, two.here.path / jar)
        assert two.here.list("publishing") == {"lock", "ready", "taken", "signed"}


def test_a_file_of_gpgs_comes_back_for_each(two: Two, tmp_path: Path) -> None:
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    command = f"gpg --homedir {home} --batch --passphrase= --quick-generate-key test"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=PATIENCE)
    with (two.there.path / "config.yml").open("a") as config:
        config.write(f"gpghome: {home}\n")
    two.metadata("org.example.b")
    two.here.built("org.example.b")
    two.send()
    two.sign()
    two.publish()
    two.take()
    two.update()
    two.sign()
    assert two.take() == ""
    for name in ("org.example.b_1.apk", "org.example.b_1_src.tar.gz", "index-v2.json"):
        file = two.here.path / "repo" / name
        command = f"gpg --homedir {home} --verify {file}.asc {file}"
        subprocess.run(command.split(), check=True, capture_output=True, timeout=PATIENCE)
    subprocess.run(
        ["gpgconf", "--homedir", str(home), "--kill", "all"], check=True, timeout=PATIENCE
    )
