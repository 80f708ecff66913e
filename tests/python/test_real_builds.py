# SPDX-License-Identifier: GPL-2.0-or-later
"""Apps that the real fdroidserver builds with `--on-server`, in machines of the shipped recipe.

The steps are those of the choice `whole`, one by one; test_loop.py has a master run them.
"""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from masters import PATIENCE, ROOT
from real_machine import Machine, Web
from repositories import Server
from shipped import GRADLE, SCRIPT, Source

# Docker's default bridge.
BRIDGE = "172.17.0.1"

APP = "org.example.tiny"
STEPS = ("prepare", "fetch", "build", "collect")


class World:
    """Sources of apps, fdroiddata, and what their developers have published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(folder / "repositories", address=BRIDGE)
        self.web = Web(folder / "web", BRIDGE)
        self.gradle = Source(self.server, folder, "tiny", app="gradle_app")
        self.script = Source(self.server, folder, "script")
        for source in (self.gradle, self.script):
            source.release(1, "1.0")
            source.release(2, "1.1")
        self.data = folder / "fdroiddata"
        (self.data / "metadata").mkdir(parents=True)
        (self.data / "srclibs").mkdir()
        # Signatures would be fetched.
        (self.data / "config.yml").write_text("scanner_signature_sources: []\n")
        self._count = 0

    def describe(
        self, source: Source, how: str, *, code: int = 1, name: str = "1.0", more: str = ""
    ) -> str:
        """Write the metadata of one version of an app; the version."""
        text = (
            f"Categories: [System]\nLicense: MIT\nRepoType: git\nRepo: {source.repository.url}\n"
            f"{more}Builds:\n  - versionName: '{name}'\n    versionCode: {code}\n"
            f"    commit: v{name}\n    {how}\n"
        )
        (self.data / f"metadata/{source.package}.yml").write_text(text)
        return f"{source.package}:{code}"

    def machine(self) -> Machine:
        """A fresh one."""
        self._count += 1
        return Machine(self.data, self.folder / f"machine-{self._count}")

    def sign(self, apk: Path, name: str) -> None:
        """Publish an APK as its developer does."""
        keystore = self.folder / "developer.p12"
        if not keystore.exists():
            make = (
                "keytool -genkey -alias a -keyalg RSA -keysize 2048 -storetype PKCS12 -dname CN=a"
            )
            more = ["-storepass", "throwaway", "-keystore", str(keystore)]
            subprocess.run([*make.split(), *more], check=True, capture_output=True)
        sign = ["apksigner", "sign", "--ks", str(keystore), "--ks-pass", "pass:throwaway"]
        out = ["--out", str(self.web.folder / name)]
        subprocess.run([*sign, *out, str(apk)], check=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, android_image: None, fdroidserver: Path
) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("real"))
    yield world
    world.web.close()
    world.server.close()


def test_gradle_builds_an_app_with_a_srclib_after_its_sudo_lines(world: World) -> None:
    library = world.server.repository("library.git")
    library.put("main", "text.txt", "from the library")
    library.tag("v3")
    (world.data / "srclibs/Library.yml").write_text(f"RepoType: git\nRepo: {library.url}\n")
    how = (
        "timeout: 5000\n    sudo:\n      - id -u >/from-sudo\n    srclibs:\n      - Library@v3\n"
        "    prebuild:\n      - test $(cat /from-sudo) = 0\n      - '! command -v sudo'\n"
        "      - mkdir -p src/main/assets\n      - cp $$Library$$/text.txt src/main/assets/\n"
        "      - date --utc --date=@$SOURCE_DATE_EPOCH +%F >src/main/assets/date\n"
        "      - echo $ANDROID_HOME $PATH >src/main/assets/path\n"
        f"    {GRADLE}"
    )
    app = world.describe(world.gradle, how)
    with world.machine() as machine:
        assert machine.steps(app, "timeout") == "5000\n"
        machine.steps(app, *STEPS)
        apk = f"unsigned/{APP}_1.apk"
        assert machine.artifacts().keys() == {
            apk,
            f"unsigned/{APP}_1_src.tar.gz",
            f"repo/{APP}_1.log.gz",
        }
        with zipfile.ZipFile(machine.folder / "artifacts" / apk) as content:
            assert {"classes.dex", "resources.arsc"} <= set(content.namelist())
            assert content.read("assets/text.txt") == b"from the library"
            # The commit's own time, not that of the metadata or of today.
            assert content.read("assets/date") == b"2019-12-31\n"
            # Of a login shell.
            path = content.read("assets/path").decode()
            assert path.startswith("/opt/android-sdk ")
            assert path.rstrip().endswith(":/opt/gradle/bin")
        with tarfile.open(machine.folder / f"artifacts/unsigned/{APP}_1_src.tar.gz") as sources:
            assert f"{APP}_1_src.tar.gz/build.gradle" in sources.getnames()
        with gzip.open(machine.folder / f"artifacts/repo/{APP}_1.log.gz", "rt") as log:
            assert "BUILD SUCCESSFUL" in log.read()
        # What was built has no sudo any more, and is of no use for another build.
        status, said = machine.run("fdroid-machine", "prepare", app)
        assert status == 1
        assert "error: this machine has been used" in said


def test_several_versions_and_other_outputs(world: World) -> None:
    zipped = "output: update.zip\n    build: python3 -m zipfile -c update.zip build.py"
    for code, name, how, ending in ((1, "1.0", SCRIPT, "apk"), (2, "1.1", zipped, "zip")):
        app = world.describe(world.script, how, code=code, name=name)
        with world.machine() as machine:
            assert machine.steps(app, "timeout") == "7200\n"
            machine.steps(app, *STEPS)
            assert f"unsigned/{world.script.package}_{code}.{ending}" in machine.artifacts()


def test_the_binary_of_the_developer_must_be_what_was_built(world: World, tmp_path: Path) -> None:
    package = world.script.package
    binaries = f"Binaries: {world.web.url}/%c.apk\n"
    built = tmp_path / "app.apk"
    build = ["python3", str(ROOT / "tests/tiny_app/build.py"), str(built)]
    world.script.checkout("v1.0")
    subprocess.run(build, check=True, cwd=world.script.folder)

    world.sign(built, "1.apk")
    app = world.describe(world.script, SCRIPT, more=binaries)
    with world.machine() as machine:
        machine.steps(app, *STEPS)
        binary = f"artifacts/unsigned/binaries/{package}_1.binary.apk"
        assert (machine.folder / binary).read_bytes() == (world.web.folder / "1.apk").read_bytes()

    # One that has more in it is refused, although what was built is good.
    with zipfile.ZipFile(built, "a") as apk:
        apk.writestr("assets/other", "not from this source")
    world.sign(built, "1.apk")
    with world.machine() as machine:
        machine.steps(app, "prepare", "fetch")
        status, said = machine.run("fdroid-machine", "build", app)
        assert status == 1
        assert "compared built binary to supplied reference binary but failed" in said
        status, said = machine.run("fdroid-machine", "collect", app)
        assert status == 1
        assert not machine.artifacts()

    # Where there is none, fdroidserver leaves what it has built, uncompared.
    (world.web.folder / "1.apk").unlink()
    with world.machine() as machine:
        machine.steps(app, "prepare", "fetch")
        status, said = machine.run("fdroid-machine", "build", app)
        assert status == 1
        assert "Downloading Binaries from" in said
        left = machine.run("ls", "/home/vagrant/unsigned")[1].split()
        assert f"{package}_1.apk" in left
        status, said = machine.run("fdroid-machine", "collect", app)
        assert status == 1
        assert f"error: the build has not made unsigned/binaries/{package}_1.binary.apk" in said
        assert not machine.artifacts()


def test_a_build_that_fails_says_so(world: World) -> None:
    wrong = world.describe(world.script, SCRIPT.replace("app.apk", "other.apk", 1))
    with world.machine() as machine:
        machine.steps(wrong, "prepare", "fetch")
        status, said = machine.run("fdroid-machine", "build", wrong)
        assert status == 1
        assert "No apks match" in said
    # Version 2 in the metadata, version 1 in the APK.
    world.describe(world.script, SCRIPT)
    path = world.data / f"metadata/{world.script.package}.yml"
    path.write_text(path.read_text().replace("versionCode: 1", "versionCode: 2"))
    app = f"{world.script.package}:2"
    with world.machine() as machine:
        machine.steps(app, "prepare", "fetch")
        status, said = machine.run("fdroid-machine", "build", app)
        assert status == 1
        assert "Unexpected version/version code in output" in said
        assert machine.run("fdroid-machine", "collect", app)[0] == 1


SPOILED: list[tuple[str, str, str]] = [
    ("rm /home/vagrant/fdroidserver/gradlew-fdroid", "there is no /home/vagrant", "install.sh"),
    ("rm /etc/sudoers.d/vagrant", "`sudo` asks for a password", "NOPASSWD: ALL"),
    ("rm /opt/android-sdk", "there is no Android SDK in /opt/android-sdk", "sdkmanager"),
    ("rm -r /opt/gradle/versions", "there is no folder /opt/gradle/versions", "mkdir -p"),
    ("rm /usr/local/bin/fdroid", "there is no `fdroid` in a login shell", "install.sh"),
    ("rm /etc/fdroid-machine.yml", "there is no /etc/fdroid-machine.yml", "install.sh"),
]


def test_what_the_machine_is_short_of_is_said_before_it_is_needed(world: World) -> None:
    app = world.describe(
        world.gradle, f"srclibs: [2:Missing@v1]\n    extlibs: [old/lib.jar]\n    {GRADLE}"
    )
    with world.machine() as machine:
        for script, error, remedy in SPOILED:
            machine.as_root(script)
            status, said = machine.run("fdroid-machine", "prepare", app)
            assert status == 1
            lines = said.splitlines()
            [at] = [i for i, line in enumerate(lines) if line.startswith(f"error: {error}")]
            assert lines[at + 1].startswith("  help: ")
            assert remedy in lines[at + 1]
        assert "error: fdroiddata has no srclib `Missing`" in said
        assert "error: there is no extlib /home/vagrant/build/extlib/old/lib.jar" in said
        assert machine.run("ls", "/home/vagrant/metadata")[0] != 0


@pytest.mark.parametrize(
    "argument", ["org.example.tiny", "../x:1", "-v:1", "a.b:1;id", "org.example.tiny:9", "a.b:1"]
)
def test_a_version_that_is_none_is_refused(
    world: World, refused: Callable[[str], tuple[int, str]], argument: str
) -> None:
    status, said = refused(argument)
    assert status == 1
    assert said.startswith("error: ")


@pytest.fixture(scope="module")
def refused(world: World) -> Iterator[Callable[[str], tuple[int, str]]]:
    world.describe(world.gradle, GRADLE)
    with world.machine() as machine:
        yield lambda argument: machine.run("fdroid-machine", "prepare", argument)
