# SPDX-License-Identifier: GPL-2.0-or-later
"""Uploads, downloads and saved logs arrive whole or not at all: a real master with full disks."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import reaper
from fdroid_bb.common.output import PART
from masters import PATIENCE, Master
from program import fdroid_bb

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)

MEGABYTE = 1024 * 1024
NO_SPACE = "No space left on device"

CONFIG = """
from buildbot.db.logs import LogsConnectorComponent

# Buildbot gives lines twice while it compresses a log, now and then; here at first, each time.
get, read = LogsConnectorComponent.getLogLines, set()

async def get_twice(self, logid, first, last):
    text = await get(self, logid, first, last)
    if (logid, first) in read:
        return text
    read.add((logid, first))
    return text.partition("\\n")[0] + "\\n" + text

LogsConnectorComponent.getLogLines = get_twice

c["workers"] = [WORKER]
copy = {"source": util.Property("source"), "to": util.Property("to"), "limit": 600}
log = util.Property("source")
kinds = {
    "file": [Upload(name="copy", most=MOST, **copy)],
    "late": [Upload(name="copy", most=MOST, **{**copy, "limit": 1})],
    "folder": [UploadFolder(name="copy", most=MOST, **copy)],
    "download": [Download(name="copy", **copy)],
    "log": [
        steps.ShellCommand(name="say", command=["cat", log], logEnviron=False),
        SaveLog(name="copy", step="say", to=util.Property("to")),
    ],
}
c["builders"] = [
    util.BuilderConfig(name=kind, workernames=["one"], factory=util.BuildFactory(steps))
    for kind, steps in kinds.items()
]
c["schedulers"] = [schedulers.ForceScheduler(
    name="force",
    builderNames=list(kinds),
    properties=[util.StringParameter(name="source"), util.StringParameter(name="to")],
)]
""".replace("MOST", str(8 * MEGABYTE))

DESCRIPTION = """
[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "Main"
url = "http://127.0.0.1:8010/"
submit = { listen = "127.0.0.1:9999", user = "fdroid", password-file = "/nonexistent/passwd" }

[workers.one]
master = "main"
local = {}

[builders.build]
workers = ["one"]
steps = [{ run = ["true"] }]

[schedulers.submitted]
on = { submitted = "build" }
builders = ["build"]
"""

APP = """\
RepoType: git
Repo: https://example.org/x.git
Builds:
  - versionName: '2.0'
    versionCode: 21
    commit: v2
UpdateCheckMode: Tags
CurrentVersion: '2.0'
CurrentVersionCode: 21
"""


class World:
    """A master, and a `sha256sum` on its worker that can be made to lie."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder = folder
        bin_ = folder / "bin"
        bin_.mkdir()
        tool = bin_ / "sha256sum"
        # As if a disk or the network had changed what arrives.
        tool.write_text(
            f'#!/bin/sh\n{shutil.which("sha256sum")} "$@" > {folder}/sums || exit\n'
            f"[ ! -e {folder}/lie ] || sed -i 's/^[0-9a-f]*/{'0' * 64}/' {folder}/sums\n"
            f"cat {folder}/sums\n"
            f"[ ! -e {folder}/hang ] || exec sleep 600\n"
        )
        tool.chmod(0o755)
        path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
        config = CONFIG.replace("WORKER", worker)
        self.master = Master(folder / "master", config, env={"PATH": path})
        self.count = dict.fromkeys(("file", "late", "folder", "download", "log"), 0)

    @property
    def root(self) -> Path:
        """Where paths on the master start."""
        return self.master.output

    def copy(self, kind: str, source: str | Path, to: str | Path) -> tuple[int, str]:
        """The result of the build and what its step said."""
        self.master.force("force", kind, source=str(source), to=str(to))
        self.count[kind] += 1
        build = self.master.builds(kind, self.count[kind])[-1]
        steps = self.master.steps(build)
        return build["results"], steps["copy"]["text"]

    @contextlib.contextmanager
    def remote(self, port: int | None = None) -> Iterator[None]:
        """The worker `one` of another machine, which finds the master at a port."""
        program = str(Path(sys.executable).parent / "buildbot-worker")
        folder = str(self.folder / "worker")
        address = f"127.0.0.1:{port or self.master.pb_port}"
        create = [program, "create-worker", "--quiet", folder, address, "one", "pass"]
        subprocess.run(create, check=True, timeout=PATIENCE)
        reaper.watch(self.folder / "worker")
        start = [program, "start", "--nodaemon", folder]
        process = subprocess.Popen(start, env=self.master.env, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Network:
    """Between a worker and its master: it can be cut when the worker has sent so much."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        # Bytes from the worker until the cut; None: it is not cut.
        self.left: int | None = None
        self.cut = threading.Event()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                worker, _ = self._server.accept()
                if self.cut.is_set():
                    worker.close()
                    continue
                master = socket.create_connection(("127.0.0.1", self._master))
                self._ends = [worker, master]
                for ends in ((worker, master), (master, worker)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, here: socket.socket, there: socket.socket) -> None:
        from_worker = here is self._ends[0]
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                if from_worker and self.left is not None:
                    data = data[: self.left]
                    self.left -= len(data)
                there.sendall(data)
                if from_worker and self.left == 0:
                    self.cut.set()
                    break
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let the worker through again."""
        self.left = None
        self.cut.clear()

    def close(self) -> None:
        """No more connections."""
        self._server.close()


@pytest.fixture(scope="module", params=["local", "remote"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    if os.geteuid() == 0:
        _keep_mounts()
    folder = tmp_path_factory.mktemp("transfers")
    remote = request.param == "remote"
    kind = 'worker.Worker("one", "pass")' if remote else 'worker.LocalWorker("one")'
    world = World(folder, kind)
    with world.master, world.remote() if remote else contextlib.nullcontext():
        yield world


def _keep_mounts() -> None:
    """Keep what is mounted from here on to this process and its children, and end it with them."""
    clone_newns = 0x20000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newns) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rslave", "/")


@pytest.fixture
def disk(world: World) -> Iterator[Path]:
    """A disk of two megabytes below the master's paths."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    path = world.root / "small"
    path.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", path)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True, timeout=PATIENCE)
        path.rmdir()


def mount(*args: str | Path) -> None:
    """Call mount."""
    subprocess.run(["mount", *args], check=True, timeout=PATIENCE)


def found(folder: Path) -> list[str]:
    """All that is in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def mode(path: Path) -> int:
    """What others may do with it."""
    return stat.S_IMODE(path.stat().st_mode)


def make(path: Path, size: int, seed: int = 1) -> Path:
    """A file that is not the same everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = hashlib.sha512(bytes([seed])).digest()
    path.write_bytes((block * (size // len(block) + 1))[:size])
    return path


def test_an_upload_to_a_full_disk_leaves_nothing(world: World, disk: Path, tmp_path: Path) -> None:
    (tmp_path / "fdroiddata/metadata").mkdir(parents=True)
    (tmp_path / "fdroiddata/metadata/org.example.a.yml").write_text(APP)
    (tmp_path / "fdroid-bb.toml").write_text(DESCRIPTION)

    def pending() -> str:
        where = ("--config", tmp_path / "fdroid-bb.toml", "--fdroiddata", tmp_path / "fdroiddata")
        return fdroid_bb("schedule", "--all", "--dry-run", "--repository", disk, *where)

    apk = make(tmp_path / "org.example.a_21.apk", 3 * MEGABYTE)
    to = f"small/unsigned/{apk.name}"
    results, said = world.copy("file", apk, to)
    assert results == FAILURE
    assert NO_SPACE in said
    assert found(disk) == ["unsigned"]
    assert "org.example.a" in pending()

    mount("-o", "remount,size=16m", disk)
    assert world.copy("file", apk, to)[0] == SUCCESS
    assert found(disk) == ["unsigned", f"unsigned/{apk.name}"]
    assert (world.root / to).read_bytes() == apk.read_bytes()
    assert (mode(world.root / to), mode(disk / "unsigned")) == (0o644, 0o755)
    assert "org.example.a" not in pending()

    # What was there stays until its successor is whole.
    mount("-o", "remount,size=4m", disk)
    other = make(tmp_path / "other.apk", 3 * MEGABYTE, 2)
    results, said = world.copy("file", other, to)
    assert (results, NO_SPACE in said) == (FAILURE, True)
    assert found(disk) == ["unsigned", f"unsigned/{apk.name}"]
    assert (world.root / to).read_bytes() == apk.read_bytes()


def test_a_folder_to_a_full_disk_leaves_nothing(world: World, disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    (folder / "empty").mkdir(parents=True)
    (folder / "a").write_text("a")
    make(folder / "deep/er/b", 3 * MEGABYTE)
    results, said = world.copy("folder", folder, "small/reports")
    assert (results, NO_SPACE in said) == (FAILURE, True)
    assert found(disk) == []

    mount("-o", "remount,size=16m", disk)
    assert world.copy("folder", folder, "small/reports")[0] == SUCCESS
    names = ["reports", *(f"reports/{name}" for name in found(folder))]
    assert found(disk) == names
    assert (disk / "reports/deep/er/b").read_bytes() == (folder / "deep/er/b").read_bytes()
    modes = {name: mode(disk / name) for name in names}
    assert modes == {name: 0o755 if (disk / name).is_dir() else 0o644 for name in names}

    # The next one replaces it as a whole.
    mount("-o", "remount,size=4m", disk)
    (folder / "a").unlink()
    assert world.copy("folder", folder, "small/reports")[0] == FAILURE
    assert found(disk) == names
    mount("-o", "remount,size=16m", disk)
    assert world.copy("folder", folder, "small/reports")[0] == SUCCESS
    assert found(disk) == [name for name in names if name != "reports/a"]


def test_a_log_on_a_full_disk_leaves_nothing(world: World, disk: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    lines = "".join(f"{i} {'of a build that tells much' * 10}\n" for i in range(11_000))
    text.write_text(f"one\ftwo\x1cthree\x85four\u2028five\n{lines}")
    results, said = world.copy("log", text, "small/logs/a.log")
    assert (results, NO_SPACE in said) == (FAILURE, True)
    assert found(disk) == ["logs"]
    mount("-o", "remount,size=16m", disk)
    assert world.copy("log", text, "small/logs/a.log")[0] == SUCCESS
    assert found(disk) == ["logs", "logs/a.log"]
    # Around it is what Buildbot says of the command.
    assert f"\n{text.read_text()}" in (disk / "logs/a.log").read_text()
    assert mode(disk / "logs/a.log") == 0o644


def test_a_download_to_a_full_disk_leaves_nothing(world: World, disk: Path, tmp_path: Path) -> None:
    name = f"{tmp_path.name}.apk"
    apk = make(world.root / name, 3 * MEGABYTE)
    results, said = world.copy("download", name, disk / "tmp/a.apk")
    assert (results, NO_SPACE in said) == (FAILURE, True)
    assert found(disk) == ["tmp"]
    mount("-o", "remount,size=16m", disk)
    assert world.copy("download", name, disk / "tmp/a.apk")[0] == SUCCESS
    assert found(disk) == ["tmp", "tmp/a.apk"]
    assert (disk / "tmp/a.apk").read_bytes() == apk.read_bytes()


@pytest.mark.parametrize("kind", ["file", "folder", "download"])
def test_what_arrives_otherwise_than_it_was_sent_is_not_kept(
    world: World, tmp_path: Path, kind: str
) -> None:
    make(tmp_path / "source/a", 1000)
    make(world.root / tmp_path.name / "source/a", 1000)
    source: str | Path = tmp_path / "source" if kind == "folder" else tmp_path / "source/a"
    to: str | Path = f"{tmp_path.name}/target/a"
    if kind == "download":
        source, to = f"{tmp_path.name}/source/a", tmp_path / "target/a"
    lie = world.folder / "lie"
    lie.touch()
    try:
        results, said = world.copy(kind, source, to)
    finally:
        lie.unlink()
    assert results == FAILURE
    assert "did not arrive" in said
    target = world.root / to
    assert found(target.parent) == [] if target.parent.exists() else kind == "folder"
    assert world.copy(kind, source, to)[0] == SUCCESS
    assert target.exists()


def test_a_copy_ends_after_its_time(world: World, tmp_path: Path) -> None:
    hang = world.folder / "hang"
    hang.touch()
    try:
        results, said = world.copy("late", make(tmp_path / "a", 10), f"{tmp_path.name}/a")
    finally:
        hang.unlink()
    assert results == FAILURE
    assert said.endswith("\nnot done within 1 seconds\n")
    assert not (world.root / tmp_path.name).exists()


def test_what_is_no_file_or_folder_is_not_copied(world: World, tmp_path: Path) -> None:
    make(tmp_path / "large", 8 * MEGABYTE + 1)
    make(tmp_path / "folder/a", 5 * MEGABYTE)
    make(tmp_path / "folder/b", 5 * MEGABYTE)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/a").symlink_to("/etc/passwd")
    (tmp_path / "name").mkdir()
    (tmp_path / "name/a\nb").touch()
    (tmp_path / "back").mkdir()
    (tmp_path / "back/a\\b").touch()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(world.root / f"pipe-{tmp_path.name}")
    (world.root / tmp_path.name).mkdir()
    to = f"{tmp_path.name}/to"
    cases: list[tuple[str, str | Path, str]] = [
        ("file", tmp_path / "missing", "there is no file"),
        ("file", tmp_path / "folder", "there is no file"),
        ("file", tmp_path / "pipe", "there is no file"),
        ("file", tmp_path / "large", "at most"),
        ("folder", tmp_path / "large", "there is no folder"),
        ("folder", tmp_path / "folder", "has more than"),
        ("folder", tmp_path / "link", "a is neither a file nor a folder"),
        ("folder", tmp_path / "name", "in its name"),
        ("folder", tmp_path / "back", "in its name"),
        ("download", "../master/state.sqlite", "is not a path below the output directory"),
        ("download", "/etc/passwd", "is not a path below the output directory"),
        ("download", f"missing-{tmp_path.name}", "No such file"),
        ("download", tmp_path.name, "is not a file"),
        ("download", f"pipe-{tmp_path.name}", "is not a file"),
    ]
    for kind, source, why in cases:
        where = tmp_path / "to" if kind == "download" else to
        results, said = world.copy(kind, source, where)
        assert results == FAILURE, (kind, source)
        assert why in said, (kind, source)
    small = make(tmp_path / "small", 10)
    for kind, source, outside in (
        ("file", small, str(tmp_path / "out")),
        ("folder", tmp_path / "back", "."),
        ("log", small, f"{tmp_path.name}/../../out"),
    ):
        results, said = world.copy(kind, source, outside)
        assert (results, "is not a path below" in said) == (FAILURE, True), (kind, outside)
    assert not (tmp_path / "out").exists()
    assert not (world.root.parent / "out").exists()
    assert found(world.root / tmp_path.name) == []
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_network_that_is_cut_in_the_middle_leaves_nothing(tmp_path: Path, kind: str) -> None:
    world = World(tmp_path, 'worker.Worker("one", "pass")')
    apk = make(tmp_path / "made/app.apk", 6 * MEGABYTE)
    source, to = (apk, "app.apk") if kind == "file" else (apk.parent, "folder")
    with world.master, contextlib.closing(Network(world.master.pb_port)) as network:
        before = found(world.root)
        with world.remote(network.port):
            network.left = 3 * MEGABYTE
            world.master.force("force", kind, source=str(source), to=to)
            assert network.cut.wait(PATIENCE)
            (build,) = world.master.builds(kind, 1, PATIENCE)
            # Buildbot does such a build again, for it was not its fault.
            assert build["results"] == RETRY
            assert found(world.root) == before
            network.mend()
            build = world.master.builds(kind, 2, PATIENCE)[-1]
            assert build["results"] == SUCCESS, world.master.steps(build)
        arrived = world.root / (to if kind == "file" else f"{to}/app.apk")
        assert arrived.read_bytes() == apk.read_bytes()


def test_what_a_killed_master_began_is_deleted(tmp_path: Path) -> None:
    master = Master(tmp_path / "master", "")
    make(master.output / "a/b", 10)
    make(master.output / f"a/{PART}1-2", 10)
    make(master.output / f"{PART}1-3/c", 10)
    with master:
        names = found(master.output)
        assert "a/b" in names
        assert not any(PART in name for name in names)
