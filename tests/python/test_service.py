# SPDX-License-Identifier: GPL-2.0-or-later
"""The service for `watch` as it is shipped, in a machine of its own that systemd runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from applied import APP, CONFIG, git
from masters import PATIENCE, ROOT
from program import PROGRAM, fdroid_bb

WWW, PB = "8010", "9989"

# Buildbot as F-Droid would have it: in /srv/buildbot.
BUILDBOT = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/srv/buildbot/lib")
from buildbot.scripts.runner import run
run()
"""

MASTER = """\
[Unit]
Description=A master
[Service]
User=buildbot
WorkingDirectory=/srv/main
ExecStart=/srv/buildbot/bin/buildbot start --nodaemon /srv/main
"""

# Runs it all and lays down what became of it; then the machine goes off, whatever that was.
TRIAL = """\
[Unit]
Description=Try the service
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/trial.sh
StandardOutput=file:/trial.log
StandardError=file:/trial.log
TimeoutStartSec=3000
"""

TRIAL_SCRIPT = """\
#!/bin/bash
set -eu
until_said() { # TEXT
    for _ in {1..900}; do
        if journalctl --unit fdroid-bb-watch --output cat | grep -F "$1"; then return; fi
        systemctl is-active --quiet master || break
        sleep 1
    done
    echo "waited in vain for: $1"
    journalctl --no-pager --output cat | tail -60
    tail -30 /srv/main/twistd.log
    return 1
}
pollers() {
    python3 - <<'END'
import json, urllib.request
url = "http://127.0.0.1:WWW/api/v2/changesources"
sources = json.load(urllib.request.urlopen(url))["changesources"]
print("pollers", sum(source["master"] is not None for source in sources))
END
}
systemctl start --no-block master
for _ in {1..900}; do [[ ! -e /srv/main/fdroid-bb-live.json ]] || break; sleep 1; done
systemctl start fdroid-bb-watch
until_said "at FIRST: live after"
pollers
pid=$(systemctl show -P MainPID fdroid-bb-watch)
grep -E '^(NoNewPrivs|Seccomp|CapEff|Uid):' "/proc/$pid/status"
git --git-dir /srv/upstream.git update-ref refs/heads/master refs/heads/next
systemctl reload fdroid-bb-watch
until_said "at NEXT: live after"
pollers
ls -l /var/cache/fdroid-bb/fdroid-bb /var/lib/fdroid-bb
systemctl stop fdroid-bb-watch
systemctl show -p Result -p ExecMainStatus -p NRestarts fdroid-bb-watch
systemctl is-active master
"""


def run(*command: str | Path, seconds: float = 120) -> None:
    """Run a command; fails with all it says."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def images() -> Path:
    """The folder of what `./dev testbed` makes."""
    folder = Path(os.environ.get("FDROID_BB_TESTBED", "/nonexistent"))
    tools = ("qemu-system-x86_64", "mkfs.ext4", "debugfs")
    if not (folder / "systemd.tar").exists() or not all(map(shutil.which, tools)):
        pytest.skip("no machine with systemd: make it ready with ./dev testbed")
    if os.geteuid() != 0 or sys.version_info[:2] != (3, 11):
        pytest.skip("the machine is made by root, with packages for its Python 3.11")
    return folder


def machine(images: Path, folder: Path) -> tuple[Path, str, str]:
    """The disk of a machine with the service and a master, and two commits of fdroiddata."""
    root = folder / "root"
    root.mkdir()
    run("tar", "-C", root, "-xpf", images / "systemd.tar")
    shutil.copy(PROGRAM, root / "usr/bin/fdroid-bb")
    units = root / "etc/systemd/system"
    shutil.copy(ROOT / "recipes/fdroid-bb-watch.service", units)
    (units / "master.service").write_text(MASTER)
    (units / "trial.service").write_text(TRIAL)

    srv = root / "srv"
    packages = Path(sysconfig.get_path("purelib"))
    tools = shutil.ignore_patterns(
        "*mypyc*", "mypy", "ruff*", "pip", "setuptools", "check_jsonschema"
    )
    shutil.copytree(packages, srv / "buildbot/lib", ignore=tools)
    (srv / "buildbot/bin").mkdir()
    (srv / "buildbot/bin/buildbot").write_text(BUILDBOT)
    (srv / "buildbot/bin/buildbot").chmod(0o755)

    data = folder / "fdroiddata"
    (data / "metadata").mkdir(parents=True)
    git(data, "init", "-q", "-b", "master")
    commits = []
    for name in ("first", "next"):
        (data / f"metadata/org.example.{name}.yml").write_text(APP.replace("NAME", name))
        git(data, "add", "-A")
        git(data, "commit", "-q", "-m", name)
        commits.append(git(data, "rev-parse", "HEAD")[:12])
    git(data, "branch", "next")
    git(data, "reset", "-q", "--hard", "HEAD~1")
    out = srv / "fdroid-bb"
    run("git", "clone", "-q", "--bare", data, srv / "upstream.git")
    run("git", "clone", "-q", "--bare", data, out / "fdroiddata.git")
    git(out / "fdroiddata.git", "remote", "set-url", "origin", "/srv/upstream.git")
    config = out / "fdroid-bb.toml"
    config.write_text(CONFIG.replace("WWW_PORT", WWW).replace("PB_PORT", PB))
    fdroid_bb("generate", "--config", config, "--fdroiddata", data, "--out", out)
    buildbot = Path(sys.executable).parent / "buildbot"
    master = ("create-master", "-q", "--relocatable", "--config")
    run(buildbot, *master, "/srv/fdroid-bb/masters/main/master.cfg", srv / "main")
    for path in (srv, *srv.rglob("*")):
        os.chown(path, 1000, 1000, follow_symlinks=False)

    script = TRIAL_SCRIPT.replace("WWW", WWW)
    script = script.replace("FIRST", commits[0]).replace("NEXT", commits[1])
    (srv / "main").chmod(0o700)
    (root / "trial.sh").write_text(script)
    (root / "trial.sh").chmod(0o755)
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(1500 << 20)
    run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", root, disk)
    shutil.rmtree(root)
    return disk, commits[0], commits[1]


def test_nobody_comes_before_the_folder_that_fdroidserver_reads(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes folders for another user")
    (tmp_path / "etc").mkdir()
    users = "root:x:0:0::/:/bin/sh\nbuildbot:x:1000:1000::/:/bin/sh\n"
    (tmp_path / "etc/passwd").write_text(users)
    (tmp_path / "etc/group").write_text("root:x:0:\nbuildbot:x:1000:\n")
    # Somebody else's, from before.
    theirs = tmp_path / "tmp/fdroid-buildbot-sendchange"
    theirs.mkdir(parents=True)
    (theirs / "passwd").write_text("theirs\n")
    run("systemd-tmpfiles", "--create", f"--root={tmp_path}", ROOT / "recipes/fdroid-bb.tmpfiles")
    made = (tmp_path / "run/fdroid-bb").stat()
    assert (made.st_uid, made.st_mode & 0o777) == (1000, 0o700)
    assert str(theirs.readlink()) == "/run/fdroid-bb"


def test_the_service_follows_fdroiddata_under_systemd(images: Path, tmp_path: Path) -> None:
    disk, first, after = machine(images, tmp_path)
    run("tar", "-C", tmp_path, "-xf", images / "bare.box", "vmlinuz", "initrd")
    command = ["qemu-system-x86_64", "-m", "1024", "-smp", "2", "-nographic", "-no-reboot"]
    command += ["-kernel", str(tmp_path / "vmlinuz"), "-initrd", str(tmp_path / "initrd")]
    command += ["-append", "console=ttyS0 quiet systemd.unit=trial.service"]
    command += ["-drive", f"file={disk},format=raw,if=virtio", "-nic", "none"]
    command += ["-device", "virtio-rng-pci"]
    console = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
    ).stdout
    read = ["debugfs", "-R", "cat /trial.log", str(disk)]
    said = subprocess.run(read, capture_output=True, text=True, timeout=PATIENCE).stdout
    lines = said.splitlines()
    assert lines[-1:] == ["active"], said + console[-3000:]
    assert [line for line in lines if line.startswith("pollers")] == ["pollers 1", "pollers 2"]
    assert any(f"at {first}: live after" in line for line in lines)
    assert any(f"at {after}: live after" in line for line in lines)
    # It may do as little as the unit says.
    assert {"NoNewPrivs:\t1", "Seccomp:\t2", f"CapEff:\t{0:016x}"} <= set(lines)
    assert "Uid:\t1000\t1000\t1000\t1000" in lines
    assert "fdroid-bb.prom" in said
    assert "blobs" in said
    # Being told to end is no failure.
    assert {"Result=success", "ExecMainStatus=0", "NRestarts=0"} <= set(lines)
