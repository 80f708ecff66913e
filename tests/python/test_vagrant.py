# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a machine's description before any machine is started."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors
from twisted.internet import defer

from fdroid_bb import VagrantLatentWorker
from fdroid_bb.machines.vagrant_machine import Interrupted, Say, VagrantMachine, fingerprint
from fdroid_bb.machines.vagrantfile import Description, foreign_disks, quote
from masters import PATIENCE

TEXTS = ["plain", "it's", "back\\slash", "#{`reboot`}", 'quote"', "\\'", "end\\", "\u00e9"]


def read_single_quoted(inner: str) -> str:
    """As Ruby reads it: a backslash escapes itself and the quote, nothing else counts."""
    read, at = "", 0
    while at < len(inner):
        assert inner[at] != "'"
        at += inner[at] == "\\"
        read += inner[at]
        at += 1
    return read


@pytest.mark.parametrize("text", TEXTS)
def test_a_quoted_value_cannot_end_its_quotes(text: str) -> None:
    assert read_single_quoted(quote(text)[1:-1]) == text


def test_ruby_reads_what_was_quoted() -> None:
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("no ruby: it comes with Vagrant, which ./dev testbed installs")
    values = ", ".join(quote(text) for text in TEXTS)
    program = f"$stdout.binmode; print [{values}].join(0.chr)"
    done = subprocess.run([ruby, "-e", program], capture_output=True, check=True, timeout=PATIENCE)
    assert done.stdout.decode().split("\0") == TEXTS


def test_a_vagrantfile_says_what_was_described() -> None:
    description = Description(
        box="buildserver",
        box_version="1.2",
        memory=512,
        cpus=2,
        provider_options={"nested": True, "cpu_mode": "host-passthrough"},
    )
    text = description.render("vm-1-0123-", boot_timeout=300)
    for line in (
        "config.vm.box = 'buildserver'",
        "config.vm.box_version = '1.2'",
        "config.vm.boot_timeout = 300",
        'config.vm.synced_folder ".", "/vagrant", disabled: true',
        "machine.default_prefix = 'vm-1-0123-'",
        "machine.memory = 512",
        "machine.cpus = 2",
        "machine.nested = true",
        "machine.cpu_mode = 'host-passthrough'",
    ):
        assert f"  {line}\n" in text


def test_a_snapshot_is_used_where_the_provider_has_them() -> None:
    assert Description(box="b").by_snapshot
    assert Description(box="b", provider="virtualbox").by_snapshot
    assert not Description(box="b", provider="docker").by_snapshot
    assert not Description(box="b", snapshot=False).by_snapshot


def test_what_vagrant_would_refuse_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigErrors, match="box must be printable"):
        VagrantLatentWorker("vm", box="a\nb")
    with pytest.raises(ConfigErrors, match="provider is not a name"):
        VagrantLatentWorker("vm", box="a", provider="x; system('reboot')")
    with pytest.raises(ConfigErrors, match="memory must be positive"):
        VagrantLatentWorker("vm", box="a", memory=0)
    with pytest.raises(ConfigErrors, match="option is not a name"):
        VagrantLatentWorker("vm", box="a", provider_options={"x = 1\n": 1})
    with pytest.raises(ConfigErrors, match="no name for a directory"):
        VagrantLatentWorker("../vm", box="a")
    assert list(Description("box", "docker", memory=1).problems())


def test_workers_with_the_same_arguments_are_equal() -> None:
    def worker(memory: int) -> VagrantLatentWorker:
        return VagrantLatentWorker("vm", box="a", memory=memory, provider_options={"nested": True})

    assert worker(1) == worker(1)
    assert worker(1) != worker(2)


DISKS = """\
 file     disk     vda      /var/lib/libvirt/images/vm-1-0123-default.img
 file     disk     vdb      /var/lib/libvirt/images/vm-1-0123-default_1.img
 file     disk     vdc      /var/lib/libvirt/images/their disk.img
 network  disk     vdd      pool/vm-1-0123-default.img.old
 file     cdrom    sda      -
"""


def test_the_disks_of_others_are_told_from_a_machines_own() -> None:
    others = ["/var/lib/libvirt/images/their disk.img", "pool/vm-1-0123-default.img.old"]
    assert foreign_disks(DISKS, "vm-1-0123-") == others
    assert len(foreign_disks(DISKS, "vm-1-4567-")) == 4
    assert foreign_disks("", "vm-1-0123-") == []


class Stuck(VagrantMachine):
    """Its `vagrant up` never ends by itself."""

    too_slow = False

    async def _vagrant(self, *args: str, seconds: int, say: Say) -> str:
        self.interrupt("enough", too_slow=self.too_slow)
        raise Interrupted(f"{args} for {seconds} s: enough", say)


@pytest.mark.parametrize("too_slow", [False, True])
def test_a_machine_that_never_boots_is_a_failure_of_its_snapshot(
    tmp_path: Path, too_slow: bool
) -> None:
    machine = Stuck(None, tmp_path)
    machine.too_slow = too_slow
    state = tmp_path / "state.json"
    description = Description(box="none", provider="virtualbox")

    async def prepare(_: Path) -> None:
        raise AssertionError("a new machine")

    def start() -> str:
        said: list[str] = []
        done: defer.Deferred[Any] = defer.ensureDeferred(
            machine.start(description, 60, said.append, prepare)
        )
        failure: Any = done.result
        done.addErrback(lambda _: None)
        assert failure.check(Interrupted), failure
        return " ".join(said)

    # Of a machine that is there, once it is known what it was made from.
    start()
    text = (tmp_path / "Vagrantfile").read_text()
    made_from = fingerprint(text, "none")
    state.write_text(json.dumps({"clean": True, "made_from": made_from}))
    for number in (1, 2):
        said = start()
        assert "as its snapshot was" in said
        assert json.loads(state.read_text())["failures"] == (number if too_slow else 0)
        state.write_text(json.dumps(json.loads(state.read_text()) | {"clean": True}))
    assert ("a new machine" in start()) == too_slow
