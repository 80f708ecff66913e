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

# Providers whose settings for memory and processors have these names; others take them from
# `options`.
_SIZED = frozenset({"libvirt", "parallels", "virtualbox"})


_HEAD = """\
# Made by fdroid-bb before each start.
Vagrant.configure("2") do |config|
"""


@dataclass(frozen=True)
class Machine:
    """What a Vagrantfile says. `memory` is in MiB; `options` are further provider settings."""

    box: str
    provider: str
    box_version: str | None = None
    memory: int | None = None
    cpus: int | None = None
    options: Mapping[str, Option] = field(default_factory=dict)

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
        for name, value in self.options.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name, re.ASCII):
                yield f"provider option is not a name: {name!r}"
            if isinstance(value, str) and not value.isprintable():
                yield f"provider option {name} must be printable: {value!r}"

    def render(self, prefix: str, boot_timeout: int) -> str:
        """The file. `prefix` makes the machine's name its own on the host."""
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
        if self.memory is not None:
            settings["memory"] = self.memory
        if self.cpus is not None:
            settings["cpus"] = self.cpus
        settings |= self.options
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
