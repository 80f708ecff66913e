# SPDX-License-Identifier: GPL-2.0-or-later
"""Real masters, with real databases, on a simulated clock: for what takes hours or days."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet import task

import fdroid_bb  # noqa: F401  # before the next, which would make its warnings errors

with warnings.catch_warnings():
    from buildbot.test.util.integration import RunFakeMasterTestCase, TestedMaster


class Simulated(RunFakeMasterTestCase):
    """A test with masters that follow each other on one database and one clock.

    `self.reactor` is that clock; it stands still but for `pass_time`.
    """

    # Seconds of the real clock, for a test that hangs.
    timeout = 600

    def mktemp(self) -> str:
        """A path in a folder that is deleted afterwards; trial's own would be left behind."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return str(Path(folder, "made"))

    def database(self) -> str:
        """One for masters that follow each other."""
        return f"sqlite:///{self.mktemp()}.sqlite"

    async def start(self, config: dict[str, Any]) -> TestedMaster:
        """Start a master; `config` has a `db_url` if another one is to follow."""
        tested = TestedMaster()
        self.master = await tested.create_master(self, self.reactor, dict(config))
        return tested

    async def pass_time(self, seconds: float, step: float = 60) -> None:
        """Let time pass in steps, each until all that was to happen then has happened."""
        end = self.reactor.seconds() + seconds
        while self.reactor.seconds() < end:
            self.reactor.advance(min(step, end - self.reactor.seconds()))
            await self.settle()

    async def settle(self) -> None:
        """Let happen what is to happen now."""
        await task.deferLater(real_reactor, 0, lambda: None)
