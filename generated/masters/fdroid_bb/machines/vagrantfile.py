# SPDX-License-Identifier: GPL-2.0-or-later
"""The Vagrantfile of one machine, and the checks that keep it from being any other program.

What Buildbot lacked: anything of Vagrant. A Vagrantfile is Ruby: every value goes through one
function that quotes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# Values of a provider's settings.
Option = str | int | bool

# Providers that have snapshots. Of the others a machine is destroyed and made anew.
_SNAPSHOTS = frozenset({"hyperv", "libvirt", "parallels", "virtualbox", "vmware_desktop"})

# Providers whose settings for memory and processors have these names; others take them from
# `options`.
_SIZED = frozenset({"libvirt", "parallels", "virtualbox"})


_HEAD = """\
# Made by fdroid-bb before each start.
Vagrant.configure("2") do |config|
"""


# Said by a command of `removal` or `disks` if there is not what it is about.
NOTHING_THERE = re.compile(
    r"failed to get (?:domain|pool|vol) |domain is not running|No such container"
)


def foreign_disks(printed: str, prefix: str) -> list[str]:
    """Those of `virsh domblklist --details` that somebody else has attached.

    Vagrant's libvirt provider deletes all disks of a machine, whose they may be.
    """
    own = re.compile(rf"{re.escape(prefix)}default(?:_\d+)?\.img")
    rows = [line.split(None, 3) for line in printed.splitlines()]
    sources = [row[3].strip() for row in rows if len(row) == 4]
    return [s for s in sources if s != "-" and not own.fullmatch(s.rpartition("/")[2])]


@dataclass(frozen=True)
class Description:
    """What a machine shall be. `memory` is in MiB; `provider_options` are further settings of the
    provider. `snapshot` says whether it is reset by a snapshot; None: where the provider can.
    """

    box: str
    provider: str = "libvirt"
    box_version: str | None = None
    memory: int | None = None
    cpus: int | None = None
    provider_options: Mapping[str, Option] = field(default_factory=dict)
    snapshot: bool | None = None

    @property
    def by_snapshot(self) -> bool:
        """Whether the machine is reset by a snapshot."""
        return self.provider in _SNAPSHOTS if self.snapshot is None else self.snapshot

    def removal(self, prefix: str) -> list[list[str]]:
        """Commands that remove a machine without Vagrant, and nothing that is another's.

        Vagrant knows nothing of what `vagrant up` made before it was killed, and refuses for ever
        to make another of that name. It cannot destroy a domain with checkpoints, or with a disk
        that is in no pool.
        """
        name = f"{prefix}default"
        if self.provider == "docker":
            return [["docker", "rm", "--force", "--volumes", name]]
        if self.libvirt_uri is None:
            return []
        virsh = self._virsh
        pool = str(self.provider_options.get("storage_pool_name", "default"))
        metadata = ("--managed-save", "--nvram", "--snapshots-metadata", "--checkpoints-metadata")
        return [
            [*virsh, "destroy", name],
            [*virsh, "undefine", name, *metadata],
            [*virsh, "pool-refresh", pool],
            [*virsh, "vol-delete", f"{name}.img", "--pool", pool],
        ]

    def disks(self, prefix: str) -> list[str]:
        """A command that lists the machine's disks, for `foreign_disks`."""
        if self.libvirt_uri is None:
            return []
        return [*self._virsh, "domblklist", f"{prefix}default", "--details"]

    @property
    def libvirt_uri(self) -> str | None:
        """Of the libvirt that has the machine; None of another provider."""
        if self.provider != "libvirt":
            return None
        return str(self.provider_options.get("uri", "qemu:///system"))

    @property
    def _virsh(self) -> list[str]:
        return ["env", "LC_ALL=C", "virsh", "-q", "-c", str(self.libvirt_uri)]

    def problems(self) -> Iterator[str]:
        """All that is wrong with it, in words for a person."""
        for name, text in (("box", self.box), ("box_version", self.box_version)):
            if text is not None and (not text or not text.isprintable()):
                yield f"{name} must be printable: {text!a}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.provider, re.ASCII):
            yield f"provider is not a name: {self.provider!r}"
        for name, number in (("memory", self.memory), ("cpus", self.cpus)):
            if number is None:
                continue
            if number < 1:
                yield f"{name} must be positive: {number}"
            if self.provider not in _SIZED:
                yield f"{name} cannot be set for provider {self.provider}"
        for name, value in self.provider_options.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name, re.ASCII):
                yield f"provider option is not a name: {name!r}"
            if isinstance(value, str) and not value.isprintable():
                yield f"provider option {name} must be printable: {value!r}"

    def render(self, prefix: str, boot_timeout: int) -> str:
        """The Vagrantfile. `prefix` makes the machine's name its own on the host."""
        lines = [
            f"config.vm.box = {quote(self.box)}",
            "config.vm.box_check_update = false",
            f"config.vm.boot_timeout = {boot_timeout}",
            'config.vm.synced_folder ".", "/vagrant", disabled: true',
            'config.vm.define "default"',
        ]
        if self.box_version is not None:
            lines.insert(1, f"config.vm.box_version = {quote(self.box_version)}")
        settings: dict[str, Option] = {}
        if self.provider == "libvirt":
            settings["default_prefix"] = prefix
            # Else the machine that made the network takes it away, while another one starts.
            settings["management_network_keep"] = True
        if self.provider == "docker":
            settings["name"] = f"{prefix}default"
        if self.memory is not None:
            settings["memory"] = self.memory
        if self.cpus is not None:
            settings["cpus"] = self.cpus
        settings |= self.provider_options
        if settings:
            lines.append(f"config.vm.provider :{self.provider} do |machine|")
            lines += [f"  machine.{name} = {quote(value)}" for name, value in settings.items()]
            lines.append("end")
        body = "".join(f"  {line}\n" for line in lines)
        return f"{_HEAD}{body}end\n"


def quote(value: Option) -> str:
    """A Ruby literal. Single quotes: nothing in them is interpolated."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
