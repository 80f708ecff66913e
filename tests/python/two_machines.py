# SPDX-License-Identifier: GPL-2.0-or-later
"""Two repositories of fdroidserver, of which one has the keys, and what is carried between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from masters import PATIENCE
from repository import Repository

PARTLY, NOTHING, REFUSED = 6, 7, 8


class Two:
    """The machine that publishes, and the one that signs."""

    def __init__(self, folder: Path, fdroidserver: Path) -> None:
        for name in ("here", "there"):
            (folder / name).mkdir(exist_ok=True)
        self.here = Repository(folder / "here", fdroidserver)
        self.there = Repository(folder / "there", fdroidserver)
        self.fdroidserver = fdroidserver
        # The machine that publishes knows whose signature it waits for, and has no key.
        keystore = self.there.folder / "keystore.p12"
        export = f"keytool -exportcert -keystore {keystore} -alias repokey -storepass throwaway"
        done = subprocess.run(export.split(), check=True, capture_output=True, timeout=PATIENCE)
        (self.here.folder / "keystore.p12").unlink()
        config = self.here.path / "config.yml"
        kept = [line for line in config.read_text().splitlines() if "key" not in line]
        key = hashlib.sha256(done.stdout).hexdigest()
        keys = [f"repo_pubkey: {done.stdout.hex()}", f"repo_key_sha256: {key}"]
        config.write_text("\n".join([*kept, *keys, ""]))
        # Where nothing is signed, fdroidserver is not asked.
        self.here.env["PATH"] = self.here.env["PATH"].removeprefix(f"{fdroidserver}:")
        self.carried = folder / "stick"

    def metadata(self, app: str, code: int = 1, more: str = "") -> None:
        """The same for both."""
        for machine in (self.here, self.there):
            machine.metadata(app, code, more)

    def publish(self, code: int = 0) -> list[str]:
        """What `publish --elsewhere` says of each version."""
        return self.here.lines("publish", "--elsewhere", code=code)

    def send(self) -> None:
        """Send what is built."""
        self.publish(NOTHING)

    def sign(self, code: int = 0) -> list[str]:
        """Carry the outbox there, sign, and carry the inbox back."""
        shutil.rmtree(self.carried, ignore_errors=True)
        shutil.copytree(self.here.folder / "outbox", self.carried / "out")
        (self.carried / "in").mkdir()
        said = self.there.lines(
            "sign", str(self.carried / "out"), str(self.carried / "in"), code=code
        )
        self.carry_back()
        return said

    def carry_back(self) -> None:
        """Carry what was signed last back."""
        for path in (self.carried / "in").iterdir():
            shutil.copytree(path, self.here.folder / "inbox" / path.name)

    def back(self, name: str) -> Path:
        """What came back, to be tampered with."""
        return self.here.folder / "inbox" / name

    def update(self) -> None:
        """Make the unsigned index, and send it."""
        env = {**os.environ, "PATH": f"{self.fdroidserver}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["fdroid", "update", "--nosign"],
            cwd=self.here.path,
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert self.here.lines("send-index") == ["sent      index"]

    def take(self) -> str:
        """Why the index cannot be deployed; nothing if it can."""
        done = self.here.run("take-index")
        assert done.returncode == (1 if done.stderr else 0), done.stdout
        return done.stderr.partition("\n")[0].removeprefix("error: ")


def repack(folder: Path) -> None:
    """Let the manifest be true again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
