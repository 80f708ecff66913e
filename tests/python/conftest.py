# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests share."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from masters import PATIENCE, TEMPLATES, corpus_folder
from repositories import Server

sys.path.insert(0, str(TEMPLATES))


@pytest.fixture(scope="session")
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the real fdroiddata, for all tests: to read only."""
    bundle = corpus_folder() / "fdroiddata.bundle"
    if not bundle.exists():
        pytest.skip(f"no corpus at {bundle}: set FDROID_BB_CORPUS")
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        # The processes of pytest-xdist share it: each has a folder below that of the run.
        base = base.parent
    checkout, complete = base / "corpus", base / "corpus.complete"
    with (base / "corpus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            clone = ["git", "clone", "-q", "-b", "dev", str(bundle), str(checkout)]
            subprocess.run(clone, check=True, timeout=PATIENCE)
            complete.touch()
    return checkout


# The images and boxes that `./dev testbed` makes.
DOCKER_IMAGE = "fdroid-bb/worker:test"
VAGRANT_BOX = "fdroid-bb-test"
BARE_BOX = "fdroid-bb-bare"
CHECKUPDATES_IMAGE = "fdroid-bb/checkupdates:test"
ANDROID_IMAGE = "fdroid-bb/android:test"
ANDROID_BOX = "fdroid-bb-android"

_REMEDY = "make it ready with ./dev testbed"


def _answers(*command: str) -> str | None:
    """What a command says, or None if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker engine with the images of the testbed."""
    for image in (DOCKER_IMAGE, CHECKUPDATES_IMAGE):
        if _answers("docker", "image", "inspect", image) is None:
            pytest.skip(f"no Docker engine with the image {image}: {_REMEDY}")


@pytest.fixture(scope="session")
def android_image(docker_engine: None) -> None:
    """The image with gradle and an Android SDK."""
    if _answers("docker", "image", "inspect", ANDROID_IMAGE) is None:
        pytest.skip(f"no image {ANDROID_IMAGE}: {_REMEDY}")


@pytest.fixture(scope="session")
def vagrant_boxes() -> set[tuple[str, str]]:
    """The boxes that Vagrant has, each with its provider."""
    said = _answers("vagrant", "box", "list", "--machine-readable") or ""
    lines = [line.split(",")[2:4] for line in said.splitlines()]
    names = [value for kind, value in lines if kind == "box-name"]
    return set(zip(names, (v for kind, v in lines if kind == "box-provider"), strict=True))


@pytest.fixture(scope="session")
def vagrant_libvirt(vagrant_boxes: set[tuple[str, str]]) -> None:
    """Vagrant with libvirt, and the boxes of the testbed."""
    wanted = [VAGRANT_BOX, BARE_BOX, ANDROID_BOX]
    if not {(box, "libvirt") for box in wanted} <= vagrant_boxes:
        pytest.skip(f"no Vagrant with the boxes {', '.join(wanted)}: {_REMEDY}")
    if _answers("virsh", "-c", "qemu:///system", "list") is None:
        pytest.skip(f"libvirt does not answer: {_REMEDY}")


@pytest.fixture(scope="session")
def vagrant_docker(docker_engine: None, vagrant_boxes: set[tuple[str, str]]) -> None:
    """Vagrant with Docker, and the box of the testbed."""
    if (VAGRANT_BOX, "docker") not in vagrant_boxes:
        pytest.skip(f"no Vagrant with the box {VAGRANT_BOX} for docker: {_REMEDY}")


@pytest.fixture(scope="session")
def fdroidserver() -> Path:
    """The folder of the command `fdroid`, from PyPI."""
    folder = Path(os.environ.get("FDROIDSERVER", "/nonexistent"))
    if not (folder / "fdroid").exists():
        pytest.skip(f"no fdroid in {folder}: set FDROIDSERVER, as ./dev test does")
    if shutil.which("apksigner") is None:
        pytest.skip(f"no apksigner: {_REMEDY}")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip(f"no chromium: {_REMEDY}")
    return found


@pytest.fixture(scope="session")
def worker_wheels() -> Path:
    """Wheels of buildbot-worker and of all it needs, and pip."""
    folder = Path(os.environ.get("FDROID_BB_TESTBED", "/nonexistent"), "wheels")
    if not folder.is_dir():
        pytest.skip(f"no wheels in {folder}: {_REMEDY}")
    return folder


def _unskipped(name: str, report: pytest.TestReport | pytest.CollectReport) -> None:
    """Where nothing may be skipped, a skip is a failure that tells its reason."""
    if report.skipped and os.environ.get("FDROID_BB_NO_SKIP"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{name}: {reason} (FDROID_BB_NO_SKIP is set)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """For tests."""
    report = yield
    _unskipped(item.nodeid, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """For whole files, which are skipped before they have tests."""
    report = yield
    _unskipped(collector.nodeid, report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which process runs which tests, where there are several."""
    from share import Files

    return Files(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In which order they run there."""
    if hasattr(config, "workerinput"):
        from share import longest_first

        longest_first(items)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A git server of loopback."""
    server = Server(tmp_path_factory.mktemp("repositories"))
    yield server
    server.close()


@dataclass
class Counted:
    """A folder to put first on the PATH, and the log of the programs run from it."""

    folder: Path
    log: Path

    def env(self) -> dict[str, str]:
        """The PATH that leads to them."""
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def lines(self) -> list[str]:
        """One for each process, its arguments."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture(scope="module")
def counted_git(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """A `git` that notes how it is called, then is the real one."""
    folder = tmp_path_factory.mktemp("bin")
    log = folder / "git.log"
    real = shutil.which("git")
    script = folder / "git"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    return Counted(folder, log)
