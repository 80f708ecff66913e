# SPDX-License-Identifier: GPL-2.0-or-later
"""VagrantLatentWorker in a real master, with programs that stand in for vagrant and ssh.

The stand-in for ssh runs what it is given in a shell of this machine, so a real worker starts
and connects, and the build is real.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors

from fdroid_bb import VagrantLatentWorker
from fdroid_bb.vagrantfile import Machine, quote
from masters import Master, wait_for

VAGRANT = """\
#!/bin/sh
echo "vagrant $*" >> {log}
case "$1" in
up)
    if [ -e {folder}/broken ]; then echo "no such box"; exit 3; fi
    mkdir -p .vagrant; touch {folder}/machine ;;
ssh-config) echo "Host default" ;;
destroy) rm -rf .vagrant {folder}/machine ;;
esac
"""

SSH = """\
#!/bin/sh
echo "ssh $*" >> {log}
cat > {folder}/stdin
mkdir -p {folder}/home
export HOME={folder}/home PATH={bin}:$PATH
exec sh -s < {folder}/stdin
"""

CONFIG = """
c["workers"].append(VagrantLatentWorker(
    "vm-1", box="buildserver", box_version="1.2", memory=512, cpus=1, worker_port=PB_PORT,
    check_instance_interval=1, start_timeout=30))
c["builders"].append(util.BuilderConfig(name="vm", workernames=["vm-1"],
    factory=util.BuildFactory([steps.ShellCommand(command=["echo", "hello"])])))
c["schedulers"].append(schedulers.Periodic(
    name="now", builderNames=["vm"], periodicBuildTimer=100000))
"""


class Programs:
    """Stand-ins in a folder of their own, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        folder.mkdir()
        values = {"folder": folder, "log": self.log, "bin": Path(sys.executable).parent}
        for name, text in (("vagrant", VAGRANT), ("ssh", SSH)):
            (folder / name).write_text(text.format(**values))
            (folder / name).chmod(0o755)

    def said(self) -> list[str]:
        """The commands so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def run(tmp_path: Path, programs: Programs) -> tuple[Master, dict[str, Any]]:
    """Start a master, and wait for its build to end."""
    path = f"{programs.folder}:/usr/bin:/bin"
    master = Master(tmp_path / "master", CONFIG, env={"PATH": path})
    master.start()

    def finished() -> Any:
        return master.rest("builds?complete=true")["builds"]

    try:
        return master, wait_for("the build", finished)[0]
    except BaseException:
        print(master.log()[-4000:])
        master.stop()
        raise


def test_a_build_runs_in_a_machine_that_is_gone_after_it(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "programs")
    master, build = run(tmp_path, programs)
    with master_running(master):
        assert build["results"] == 0
        wait_for("the machine to go", lambda: "vagrant destroy -f" in programs.said())
        assert not (programs.folder / "machine").exists()
        up, access, ssh = programs.said()[:3]
        assert up == "vagrant up --provider=libvirt"
        assert access == "vagrant ssh-config"
        tunnel = f"127.0.0.1:{master.pb_port}:127.0.0.1:{master.pb_port}"
        assert f"-R {tunnel} default exec sh -s" in ssh
        # The password goes through standard input and nowhere else.
        lines = (programs.folder / "stdin").read_text().splitlines()
        secret = next(line for line in lines if "WORKERPASS=" in line).split("=")[1]
        assert len(secret) >= 40
        for text in (ssh, master.log(), *(p.read_text() for p in vagrant_files(master))):
            assert secret not in text
        vagrantfile = (master.basedir / "vagrant/vm-1/Vagrantfile").read_text()
        assert "config.vm.box = 'buildserver'" in vagrantfile
        assert "config.vm.box_version = '1.2'" in vagrantfile
        assert "machine.memory = 512" in vagrantfile
        assert 'config.vm.synced_folder ".", "/vagrant", disabled: true' in vagrantfile


def test_a_machine_that_does_not_start_ends_the_build_with_vagrants_words(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "programs")
    (programs.folder / "broken").touch()
    master, build = run(tmp_path, programs)
    with master_running(master):
        assert build["results"] != 0
        assert "vm-1: did not start: vagrant up: status 3 / no such box" in master.log()
        assert "Unhandled" not in master.log()
        # The instance is not stuck: with the fault mended it runs a build.
        (programs.folder / "broken").unlink()

        def succeeded() -> Any:
            return master.rest("builds?complete=true&results=0")["builds"]

        wait_for("a build after the fault", succeeded, 60)


class master_running:  # noqa: N801 - reads as a phrase where it is used
    """Stops a master that `run` started."""

    def __init__(self, master: Master) -> None:
        self.master = master

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.master.stop()
        if error is not None:
            error.add_note(self.master.log()[-4000:])


def vagrant_files(master: Master) -> list[Path]:
    """All that the worker wrote."""
    return [p for p in (master.basedir / "vagrant").rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    "text", ["plain", "it's", "back\\slash", "#{`reboot`}", 'quote"', "\\'", "end\\"]
)
def test_a_quoted_value_cannot_end_its_quotes(text: str) -> None:
    inner = quote(text)[1:-1]
    # As Ruby reads single quotes: a backslash escapes itself and the quote, nothing else counts.
    read, at = "", 0
    while at < len(inner):
        assert inner[at] != "'"
        at += inner[at] == "\\"
        read += inner[at]
        at += 1
    assert read == text


def test_what_vagrant_would_refuse_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigErrors, match="box must be printable"):
        VagrantLatentWorker("vm", box="a\nb")
    with pytest.raises(ConfigErrors, match="provider is not a name"):
        VagrantLatentWorker("vm", box="a", provider="x; system('reboot')")
    with pytest.raises(ConfigErrors, match="memory must be positive"):
        VagrantLatentWorker("vm", box="a", memory=0)
    with pytest.raises(ConfigErrors, match="no name for a directory"):
        VagrantLatentWorker("../vm", box="a")
    assert list(Machine("box", "docker", memory=1).problems())
