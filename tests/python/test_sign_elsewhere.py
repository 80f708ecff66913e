# SPDX-License-Identifier: GPL-2.0-or-later
"""Signing on another machine: two repositories, of which only one has keys, and folders between."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from masters import PATIENCE
from repository import make_apk, make_key, sign, signers
from two_machines import NOTHING, PARTLY, Two, repack


@pytest.fixture
def two(tmp_path: Path, fdroidserver: Path) -> Two:
    """Both, empty."""
    return Two(tmp_path, fdroidserver)


def test_there_and_back(two: Two) -> None:
    two.metadata("org.example.a")
    two.here.built("org.example.a")
    # What the developer signed is compared again there, outside the machine that built it.
    key = two.here.folder / "developer.p12"
    make_key(key, "developer")
    for app, text in (("org.example.b", "x"), ("org.example.c", "y")):
        two.metadata(app, more="Binaries: https://example.org/%v.apk\n")
        unsigned = two.here.built(app)
        apk = make_apk(two.here.folder / "made" / app, app, 1, text)
        sign(apk, key, "developer", unsigned / "binaries" / f"{app}_1.binary.apk")
    said = two.publish(NOTHING)
    assert said == [
        "sent      org.example.a_1",
        "sent      org.example.b_1",
        "sent      org.example.c_1",
        "0 versions published, 3 sent, 0 dropped, 0 refused",
    ]
    assert not two.here.list("built")
    # Built again while it is away, it is not sent again.
    two.here.built("org.example.a")
    assert two.publish(NOTHING)[0].startswith("dropped   org.example.a_1")
    said = two.sign(code=PARTLY)
    assert said[:3] == [
        "published org.example.a_1",
        "published org.example.b_1",
        "refused   org.example.c_1: `fdroid publish` failed",
    ]
    assert "verification failed" in two.there.reason("org.example.c_1")
    said = two.publish()
    assert said[:2] == ["published org.example.a_1", "published org.example.b_1"]
    repo = two.here.path / "repo"
    index = json.loads((repo / "signer-index.json").read_text())
    assert signers(repo / "org.example.a_1.apk") == [index["org.example.a"]["signer"]]
    assert signers(repo / "org.example.b_1.apk") != signers(repo / "org.example.a_1.apk")
    for app in ("org.example.a", "org.example.b"):
        assert (repo / f"{app}_1_src.tar.gz").read_bytes() == b"source"
        assert (repo / f"{app}_1.log.gz").read_bytes() == b"log"
    assert not two.here.list("inbox")
    assert two.here.list("outbox") == {"org.example.c_1"}
    assert not (repo / "manifest.json").exists()
    assert two.publish(NOTHING) == ["0 versions published, 0 dropped, 0 refused"]


def test_what_comes_back_changed_is_refused(two: Two) -> None:
    changed = ("a.damaged", "b.content", "c.signer", "d.source", "e.more", "f.other", "h.first")
    apps = (*changed, "i.keys", "j.link", "k.unpacked")
    for app in (*apps, "g.good"):
        two.metadata(app)
        two.here.built(app)
    two.send()
    two.sign()
    key = two.here.folder / "other.p12"
    make_key(key, "other")
    # An earlier version of the same app, signed by the usual key.
    earlier = two.back("c.signer_1") / "c.signer_1.apk"
    shutil.copy(earlier, two.here.path / "repo/c.signer_0.apk")

    def replace(app: str, apk: Path) -> None:
        sign(apk, key, "other", two.back(f"{app}_1") / f"{app}_1.apk")
        repack(two.back(f"{app}_1"))

    with (two.back("a.damaged_1") / "a.damaged_1.apk").open("ab") as file:
        file.write(b"x")
    made = two.here.folder / "made"
    replace("b.content", make_apk(made / "content", "b.content", 1, "y"))
    replace("c.signer", make_apk(made / "signer", "c.signer", 1))
    (two.back("d.source_1") / "d.source_1_src.tar.gz").write_bytes(b"changed")
    repack(two.back("d.source_1"))
    (two.back("e.more_1") / "index-v2.json").write_text("{}")
    replace("f.other", make_apk(made / "other", "org.example.bank", 1))
    # No earlier version: the list of keys, which the repository's key signs, tells.
    replace("h.first", make_apk(made / "first", "h.first", 1))
    replace("i.keys", make_apk(made / "keys", "i.keys", 1))
    keys = two.back("i.keys_1") / "signer-index.json"
    [signer] = signers(two.back("i.keys_1") / "i.keys_1.apk")
    keys.write_text(json.dumps({"i.keys": {"signer": signer}}))
    jar = two.back("i.keys_1") / "signer-index.jar"
    jar.unlink()
    with zipfile.ZipFile(jar, "w") as archive:
        archive.write(keys, keys.name)
    command = f"jarsigner -keystore {key} -storepass throwaway {jar} other"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=PATIENCE)
    repack(two.back("i.keys_1"))
    shutil.move(two.back("j.link_1"), two.here.folder / "elsewhere")
    two.back("j.link_1").symlink_to(two.here.folder / "elsewhere")
    (two.back("k.unpacked_1") / "manifest.json").unlink()
    (two.here.folder / "inbox/l.unasked_1").mkdir()
    said = two.publish(PARTLY)
    assert said == [
        "refused   a.damaged_1: `a.damaged_1.apk` is not what was packed",
        "refused   b.content_1: b.content_1.apk has another content than what was sent",
        "refused   c.signer_1: c.signer_1.apk has another signer than earlier versions",
        "refused   d.source_1: d.source_1_src.tar.gz is not what was sent",
        "refused   e.more_1: `index-v2.json` is not what was packed",
        "refused   f.other_1: f.other_1.apk has another content than what was sent",
        "published g.good_1",
        "refused   h.first_1: h.first_1.apk is not signed with the app's key in signer-index.json",
        "refused   i.keys_1: signer-index.jar: its signer is not `repo_pubkey` of config.yml",
        "refused   j.link_1: it is no folder",
        "refused   k.unpacked_1: it has no manifest.json",
        "refused   l.unasked_1: nobody asked for it: the outbox has no such folder",
        "1 version published, 0 dropped, 11 refused",
    ]
    assert {path.name for path in (two.here.path / "repo").glob("*.apk")} == {
        "c.signer_0.apk",
        "g.good_1.apk",
    }
    # They are still asked for: signed again, they are published.
    assert two.here.list("outbox") == {f"{app}_1" for app in apps}
    two.sign()
    (two.here.path / "repo/c.signer_0.apk").unlink()
    said = two.publish()
    assert said[-1] == "10 versions published, 0 dropped, 0 refused"


def test_the_signing_machine_checks_what_it_gets(two: Two) -> None:
    two.metadata("a.changed")
    two.here.built("a.changed")
    two.send()
    sent = two.here.folder / "outbox/a.changed_1/unsigned/a.changed_1.apk"
    shutil.copy(make_apk(two.here.folder / "made/y", "a.changed", 1, "y"), sent)
    shutil.copytree(two.here.folder / "outbox", two.carried / "out")
    said = two.there.lines("sign", str(two.carried / "out"), str(two.carried / "in"), code=PARTLY)
    assert said[0] == ("refused   a.changed_1: `unsigned/a.changed_1.apk` is not what was packed")
    assert not list((two.there.path / "repo").glob("*.apk"))
