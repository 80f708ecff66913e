# SPDX-License-Identifier: GPL-2.0-or-later
"""A repository of fdroidserver for a test, with what builds gave beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from masters import PATIENCE, ROOT
from program import PROGRAM

CONFIG_YML = """\
repo_url: https://example.org/fdroid/repo
repo_name: Test
repo_description: Test
archive_older: 3
repo_keyalias: repokey
keystore: {folder}/keystore.p12
keystorepass: throwaway
keypass: throwaway
keydname: CN=test
"""

METADATA = """\
Categories:
  - System
License: GPL-2.0-or-later
RepoType: git
Repo: https://git.example.org/{app}.git
{more}Builds:
  - versionName: '{code}.0'
    versionCode: {code}
    commit: v{code}
    gradle:
      - yes
"""


def make_key(keystore: Path, alias: str) -> None:
    """A key for signing; the password is `throwaway`."""
    keytool = f"keytool -genkey -keystore {keystore} -alias {alias} -keyalg RSA -keysize 2048"
    more = "-validity 1000 -storetype PKCS12 -storepass throwaway -dname CN=test"
    command = [*keytool.split(), *more.split()]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


def make_apk(folder: Path, app: str, code: int, text: str = "x") -> Path:
    """An unsigned APK that says it is this."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = (ROOT / "tests/tiny_app/AndroidManifest.xml").read_text()
    manifest = re.sub(r'package="[^"]*"', f'package="{app}"', manifest)
    manifest = re.sub(r'versionCode="[^"]*"', f'versionCode="{code}"', manifest)
    (folder / "AndroidManifest.xml").write_text(manifest)
    script = (ROOT / "tests/tiny_app/build.py").read_text().replace('b"x" *', f'b"{text}" *')
    command = [sys.executable, "-c", script, "made.apk"]
    subprocess.run(command, check=True, cwd=folder, timeout=PATIENCE)
    return folder / "made.apk"


def sign(apk: Path, keystore: Path, alias: str, to: Path) -> Path:
    """The APK, signed."""
    to.parent.mkdir(parents=True, exist_ok=True)
    command = f"apksigner sign --ks {keystore} --ks-key-alias {alias} --ks-pass pass:throwaway"
    command += " --v4-signing-enabled false"
    subprocess.run(
        [*command.split(), "--out", str(to), str(apk)],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    return to


def signers(apk: Path) -> list[str]:
    """The SHA-256 sums of the certificates of an APK whose signature is good."""
    done = subprocess.run(
        ["apksigner", "verify", "--print-certs", str(apk)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return re.findall(r"certificate SHA-256 digest: ([0-9a-f]{64})", done.stdout)


class Repository:
    """A folder with `repository`, and `built` beside it."""

    def __init__(self, folder: Path, fdroidserver: Path) -> None:
        self.folder = folder
        self.path = folder / "repository"
        (self.path / "metadata").mkdir(parents=True)
        self.env = {**os.environ, "PATH": f"{fdroidserver}:{os.environ['PATH']}"}
        make_key(folder / "keystore.p12", "repokey")
        config = self.path / "config.yml"
        config.touch(mode=0o600)
        config.write_text(CONFIG_YML.format(folder=folder))
        # A category must be known.
        (self.path / "config").mkdir()
        (self.path / "config/categories.yml").write_text("System:\n  name: System\n")

    def metadata(self, app: str, code: int = 1, more: str = "") -> None:
        """Metadata with one version."""
        text = METADATA.format(app=app, code=code, more=more)
        (self.path / "metadata" / f"{app}.yml").write_text(text)

    def built(self, app: str, code: int = 1, apk: Path | None = None) -> Path:
        """What a build gave; its `unsigned`."""
        stem = f"{app}_{code}"
        unsigned = self.folder / "built" / stem / "unsigned"
        unsigned.mkdir(parents=True)
        made = apk or make_apk(self.folder / "made" / stem, app, code)
        shutil.copy(made, unsigned / f"{stem}.apk")
        (unsigned / f"{stem}_src.tar.gz").write_bytes(b"source")
        (unsigned.parent / "repo").mkdir()
        (unsigned.parent / "repo" / f"{stem}.log.gz").write_bytes(b"log")
        return unsigned

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `fdroid-bb` in it."""
        return subprocess.run(
            [str(PROGRAM), *command],
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def lines(self, *command: str, code: int = 0) -> list[str]:
        """What a command says of each app, if it ends with this code."""
        done = self.run(*command)
        assert done.returncode == code, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if not line.startswith("  ")]

    def reason(self, stem: str) -> str:
        """Why it was refused."""
        return (self.folder / "refused" / stem / "reason").read_text()

    def list(self, folder: str) -> set[str]:
        """The names in a folder."""
        return {path.name for path in (self.folder / folder).iterdir()}
