# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed: the Debian package, the image for CI, and the service."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import DOCKER_IMAGE
from masters import ROOT
from program import PROGRAM


def run(*command: str | Path, cwd: Path = ROOT, seconds: float = 900) -> str:
    """What a command prints; fails with all of it."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=seconds, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the Debian package."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb: this is no Debian")
    run("./dev", "package")
    (package,) = (ROOT / "target/package").glob("*.deb")
    fields = run("dpkg-deb", "--field", package)
    assert re.search(r"(?m)^Package: fdroid-bb$", fields)
    depends = re.search(r"(?m)^Depends: (.*)$", fields)
    assert depends is not None
    assert "libc6" in depends[1]
    assert "git" in depends[1]
    folder = tmp_path_factory.mktemp("installed")
    run("dpkg-deb", "--extract", package, folder)
    return folder


def test_the_package_has_a_program_with_manual_and_completions(installed: Path) -> None:
    program = installed / "usr/bin/fdroid-bb"
    commands = re.findall(r"(?m)^  ([a-z]+) ", run(program, "--help").split("Options:")[0])
    assert {"apply", "check", "diff", "explain", "generate", "plan", "watch"} <= set(commands)
    pages = {path.name for path in (installed / "usr/share/man/man1").iterdir()}
    assert {f"fdroid-bb-{name}.1.gz" for name in commands if name != "help"} <= pages
    text = gzip.decompress((installed / "usr/share/man/man1/fdroid-bb-apply.1.gz").read_bytes())
    assert b"checkconfig" in text
    completions = installed / "usr/share/bash-completion/completions/fdroid-bb"
    run("bash", "-n", completions)
    assert (installed / "usr/share/doc/fdroid-bb/examples/fdroid-bb.toml").exists()


def test_what_init_writes_compiles(installed: Path, tmp_path: Path) -> None:
    program = installed / "usr/bin/fdroid-bb"
    run(program, "init", cwd=tmp_path)
    data = ROOT / "example/fdroiddata"
    run(program, "generate", "--fdroiddata", data, cwd=tmp_path)
    assert list((tmp_path / "generated/masters").glob("*/master.cfg"))


def test_the_image_for_ci_checks_metadata(docker_engine: None, installed: Path) -> None:
    tag = "fdroid-bb/program:test"
    # Without a registry and a mirror, on an image that has what the packages would bring.
    base = ("--build-arg", f"BASE={DOCKER_IMAGE}", "--build-arg", "PACKAGES=")
    recipe = ("--file", ROOT / "recipes/Containerfile", ROOT / "target/package/image")
    run("docker", "build", "--quiet", *base, "--tag", tag, *recipe)
    mounted = f"{ROOT}:/work:ro"
    said = run(
        *("docker", "run", "--rm", "--network", "none", "--volume", mounted, tag, "check"),
        *("--fdroiddata", "example/fdroiddata"),
    )
    assert "13 apps" in said
    run("docker", "image", "rm", tag)


def test_systemd_takes_the_service(installed: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: this is no Debian with systemd")
    unit = tmp_path / "fdroid-bb-watch.service"
    shipped = installed / "usr/share/doc/fdroid-bb/examples/fdroid-bb-watch.service"
    text = shipped.read_text().replace("/usr/bin/fdroid-bb", PROGRAM)
    unit.write_text(text.replace("Documentation=man:fdroid-bb(1)\n", ""))
    run("systemd-analyze", "verify", "--man=no", unit)
    said = run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit)
    assert "Overall exposure level" in said
