# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine of Vagrant's, in a directory of its own: made, made clean again, destroyed.

What Buildbot lacked: anything of Vagrant. Each of its commands takes seconds to start, so it is
asked for little, and what a directory holds is written down beside it instead of asked for.

A machine that is to be reset by a snapshot is booted once, shut down and saved. The snapshot is
of a machine that is off: one of a running machine would wake up with the clock of the day it was
made, with an address that the host may have given away, and with random numbers that an earlier
build has seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ..common import process
from ..common.process import CommandFailed, printable
from .vagrantfile import NOTHING_THERE, Description, foreign_disks

# Seconds for a command that only takes something away. Starting Ruby alone takes it two.
_COMMAND_TIMEOUT = 300

# Seconds for a machine to shut down; Vagrant itself gives it one minute.
_HALT_TIMEOUT = 120

_SNAPSHOT = "clean"

# Starts from a snapshot that fail one after another until the snapshot is held to be broken: a busy
# host, or a libvirt that is started again, is no reason to make a machine anew.
_SNAPSHOT_FAILURES = 2

# Failures to save one machine until it is no longer tried.
_SAVE_FAILURES = 2

# What ssh ends with if it does not get into the machine; else with the status of what it ran.
_SSH_FAILED = 255

# Vagrant, its plugins and their warnings print around this what they like.
_ACCESS = re.compile(r"^Host .*\n(?:[ \t]+\S.*\n?)+", re.MULTILINE)

SSH_OPTIONS = (
    "-T",
    "-oBatchMode=yes",
    "-oConnectTimeout=60",
    "-oExitOnForwardFailure=yes",
    "-oLogLevel=ERROR",
    "-oServerAliveCountMax=3",
    "-oServerAliveInterval=15",
)

Say = Callable[[str], None]
Prepare = Callable[[Path], Awaitable[None]]


class Interrupted(CommandFailed):
    """A start that was given up, not one that failed."""


class VagrantMachine:
    """The machine of `directory`. `say` is given a line for each thing done, with its cost."""

    def __init__(self, reactor: Any, directory: Path) -> None:
        self._reactor = reactor
        self._directory = directory
        self._state_file = directory / "state.json"
        self._command: process.Command | None = None
        self._doing = ""
        self._starting = False
        self._interrupted: str | None = None
        self._too_slow = False

    @property
    def used(self) -> bool:
        """Whether there may be something of a build."""
        return self._state_file.exists() and not self._state()["clean"]

    @property
    def doing(self) -> str:
        """The command that runs, and the last it said."""
        if self._command is None:
            return ""
        return " / ".join([self._doing, *self._command.tail()[-3:]])

    def interrupt(self, why: str, *, too_slow: bool = False) -> None:
        """End a start under way; whoever waits for it gets Interrupted once it has ended.

        One that is `too_slow` counts as one that failed.
        """
        if not self._starting:
            return
        self._interrupted = why
        self._too_slow = self._too_slow or too_slow
        if self._command is not None:
            self._command.stop(why)

    async def start(
        self, description: Description, seconds: int, say: Say, prepare: Prepare
    ) -> Path:
        """Bring up the machine as `description` says, untouched by any build; how to log in.

        `prepare` is given the same for a new machine, before a snapshot of it is made. Raises
        CommandFailed or OSError; something of the machine may then be there.
        """
        self._starting, self._interrupted, self._too_slow = True, None, False
        try:
            return await self._bring_up(description, seconds, say, prepare)
        finally:
            self._starting, self._interrupted = False, None

    async def _bring_up(
        self, description: Description, seconds: int, say: Say, prepare: Prepare
    ) -> Path:
        text = description.render(self._prefix(), boot_timeout=seconds)
        made_from = fingerprint(text, description.box)
        state = self._state()
        failures = state["failures"]
        if (
            description.by_snapshot
            and state["made_from"] == made_from
            and failures < _SNAPSHOT_FAILURES
        ):
            try:
                access = await self._start_clean(seconds, say)
            except CommandFailed as e:
                if not isinstance(e, Interrupted) or self._too_slow:
                    self._remember(failures=failures + 1)
                    say(f"failed attempts in a row with this snapshot: {failures + 1}")
                raise
            if failures:
                self._remember(failures=0)
            return access
        return await self._make(description, text, made_from, seconds, say, prepare)

    async def stop(self, say: Say) -> None:
        """Leave nothing of a build. Raises CommandFailed or OSError if something may be left."""
        tries = 2 if self._state()["made_from"] is not None else 0
        for _ in range(tries):
            try:
                await self._restore(say)
            except CommandFailed as e:
                say(f"{e}")
            else:
                return
        await self._destroy(say)

    async def remove(self, say: Say) -> None:
        """Destroy it, and the directory with it."""
        await self._destroy(say)
        shutil.rmtree(self._directory)

    async def _start_clean(self, seconds: int, say: Say) -> Path:
        if self.used:
            await self._restore(say)
        say("a machine that is as its snapshot was")
        self._remember(clean=False)
        await self._vagrant("up", "--no-provision", seconds=seconds, say=say)
        return await self._access(say)

    async def _restore(self, say: Say) -> None:
        # Without a start: Vagrant's libvirt provider never starts, its others would.
        await self._vagrant(
            "snapshot",
            "restore",
            "--no-start",
            "default",
            _SNAPSHOT,
            seconds=_COMMAND_TIMEOUT,
            say=say,
        )
        self._remember(clean=True)

    async def _make(
        self,
        description: Description,
        text: str,
        made_from: str,
        seconds: int,
        say: Say,
        prepare: Prepare,
    ) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "clean": False,
            "made_from": None,
            "failures": 0,
            "removal": description.removal(self._prefix()),
            "disks": description.disks(self._prefix()),
        }
        self._remember(**state)
        await self._destroy(say)
        say("a new machine")
        (self._directory / "Vagrantfile").write_text(text)
        self._remember(**state)
        up = ("up", f"--provider={description.provider}")
        await self._vagrant(*up, seconds=seconds, say=say)
        access = await self._access(say)
        await prepare(access)
        unsaved = self._state()["unsaved"]
        if unsaved is None or unsaved["of"] != made_from:
            unsaved = {"of": made_from, "times": 0}
        if not description.by_snapshot:
            return access
        if unsaved["times"] >= _SAVE_FAILURES:
            say("no snapshot: this machine could not be saved; its next box or description may be")
            return access
        try:
            await self._vagrant("halt", seconds=_HALT_TIMEOUT, say=say)
        except CommandFailed as e:
            # A machine that goes off at once never says good-bye to Vagrant.
            say(f"{e}")
            await self._vagrant("halt", "--force", seconds=_COMMAND_TIMEOUT, say=say)
        try:
            await self._vagrant(
                "snapshot", "save", "default", _SNAPSHOT, seconds=_COMMAND_TIMEOUT, say=say
            )
        except CommandFailed as e:
            if isinstance(e, Interrupted):
                raise
            self._remember(unsaved={**unsaved, "times": unsaved["times"] + 1})
            say(f"{e}")
            say("there is no snapshot: the next build gets a new machine")
        else:
            self._remember(clean=False, made_from=made_from, unsaved=None)
        await self._vagrant("up", "--no-provision", seconds=seconds, say=say)
        return await self._access(say)

    async def _access(self, say: Say) -> Path:
        path = self._directory / "ssh_config"
        printed = await self._vagrant("ssh-config", seconds=_COMMAND_TIMEOUT, say=say)
        found = _ACCESS.search(printed)
        if found is None:
            last = printable(" / ".join(printed.split("\n")[-5:]))
            raise CommandFailed(f"vagrant ssh-config: tells of no host: {last}")
        path.write_text(found[0])
        return path

    async def _destroy(self, say: Say) -> None:
        # Without this folder of Vagrant's there is no machine, and asking takes seconds.
        if (self._directory / ".vagrant").exists():
            await self._destroy_with_vagrant(say)
            shutil.rmtree(self._directory / ".vagrant")
        for command in self._state()["removal"]:
            await self._ask_system(command)
        if self._state_file.exists():
            self._remember(clean=True, made_from=None, failures=0, removal=[], disks=[])

    async def _destroy_with_vagrant(self, say: Say) -> None:
        """As far as Vagrant can and may; what it leaves is removed without it."""
        state = self._state()
        printed = await self._ask_system(state["disks"]) if state["disks"] else ""
        if foreign := foreign_disks(printed, self._prefix()):
            say(f"not destroyed with Vagrant, which would delete {', '.join(foreign)}")
            return
        try:
            await self._vagrant("destroy", "-f", seconds=_COMMAND_TIMEOUT, say=say)
        except CommandFailed as e:
            if isinstance(e, Interrupted) or not state["removal"]:
                raise
            say(f"{e}")
            say("removed without Vagrant")

    async def _ask_system(self, argv: list[str]) -> str:
        """What a command printed; nothing if there is not what it is about.

        Raises CommandFailed with its last lines.
        """
        command = self._start(argv, " ".join(argv), seconds=_COMMAND_TIMEOUT, stdout=65536)
        if status := await self._ended(command):
            if not NOTHING_THERE.search(" ".join(command.tail())):
                raise CommandFailed(_explain(self._doing, f"status {status}", command))
            return ""
        return command.stdout.decode("utf-8", "replace")

    async def inside(
        self, access: Path, script: str, seconds: int, stdin: bytes = b""
    ) -> tuple[int, list[str]]:
        """Run a shell script in the machine; its status and its last lines.

        Raises CommandFailed if there is no way into the machine.
        """
        command = self._start(
            ["ssh", "-F", str(access), *SSH_OPTIONS, "default", script],
            "ssh",
            seconds=seconds,
            stdin=stdin,
        )
        status = await self._ended(command)
        if status == _SSH_FAILED:
            raise CommandFailed(_explain("ssh into the machine", f"status {status}", command))
        return status, command.tail()

    async def _vagrant(self, *args: str, seconds: int, say: Say) -> str:
        """What Vagrant printed. Raises CommandFailed with its last lines."""
        doing = f"vagrant {' '.join(args)}"
        began = self._reactor.seconds()
        # Only the access to the machine is read; `up` prints its progress without end.
        limit = 65536 if args[0] == "ssh-config" else 0
        command = self._start(["vagrant", *args], doing, seconds=seconds, stdout=limit)
        if status := await self._ended(command):
            raise CommandFailed(_explain(doing, f"status {status}", command))
        say(f"{doing}: {self._reactor.seconds() - began:.1f} s")
        return command.stdout.decode("utf-8", "replace")

    def _start(self, argv: list[str], doing: str, **limits: Any) -> process.Command:
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        self._doing = doing
        self._command = process.start(
            self._reactor,
            argv,
            env={**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_NO_COLOR": "1"},
            cwd=str(self._directory),
            **limits,
        )
        return self._command

    async def _ended(self, command: process.Command) -> int:
        try:
            return await command.ended
        except CommandFailed as e:
            kind = CommandFailed if self._interrupted is None else Interrupted
            raise kind(_explain(self._doing, str(e), command)) from e
        finally:
            self._command = None

    def _prefix(self) -> str:
        # Two masters on one host may have workers of one name.
        unique = hashlib.sha256(str(self._directory.resolve()).encode()).hexdigest()[:8]
        return f"{self._directory.name}-{unique}-"

    def _state(self) -> dict[str, Any]:
        """What is known of the machine.

        `clean`: whether nothing of a build is in it. `made_from`: the fingerprint of what its
        snapshot was made from, or None. `failures`: of starts from it. `unsaved`: how often the
        machine `of` a fingerprint could not be saved. `removal`: commands that remove what Vagrant
        has forgotten or cannot destroy. `disks`: a command that lists its disks.
        """
        state: dict[str, Any] = {
            "clean": False,
            "made_from": None,
            "failures": 0,
            "unsaved": None,
            "removal": [],
            "disks": [],
        }
        with contextlib.suppress(FileNotFoundError, ValueError):
            read = json.loads(self._state_file.read_text())
            if isinstance(read, dict):
                state |= read
        return state

    def _remember(self, **changes: Any) -> None:
        new = self._directory / "state.json.new"
        new.write_text(json.dumps(self._state() | changes))
        new.replace(self._state_file)


def box_folder(box: str) -> Path:
    """Where Vagrant has the versions of a box, as its BoxCollection names the folder."""
    home = Path(os.environ.get("VAGRANT_HOME") or Path.home() / ".vagrant.d")
    return home / "boxes" / box.replace(":", "-VAGRANTCOLON-").replace("/", "-VAGRANTSLASH-")


def fingerprint(vagrantfile: str, box: str) -> str:
    """Changes with the Vagrantfile, and when a box of that name is added, removed or replaced."""
    digest = hashlib.sha256(vagrantfile.encode())
    for path in sorted(box_folder(box).glob("*/*/metadata.json")):
        digest.update(f"{path} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _explain(what: str, why: str, command: process.Command) -> str:
    # A crash of Ruby ends with a hundred lines of where it was.
    said = [line for line in command.tail() if not line.startswith("from ")]
    return " / ".join([f"{what}: {why}", *said[-5:]])
