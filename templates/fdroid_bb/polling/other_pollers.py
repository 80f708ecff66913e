# SPDX-License-Identifier: GPL-2.0-or-later
"""Pollers of the few apps that are not in git: Buildbot's own, with their own name and folder.

What Buildbot lacked: its HgPoller forgets what it has seen at every reconfig, even one that
changes nothing, and so with a reconfig for each commit to fdroiddata would never see a change.
Both count their interval from the start of the master, which a restart puts off.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from buildbot.changes.base import ReconfigurablePollingChangeSource
from buildbot.changes.hgpoller import HgPoller
from buildbot.changes.svnpoller import SVNPoller
from twisted.internet import defer

from ..common import placement

# In the master's basedir.
_FOLDER = PurePosixPath("app-sources")


class _Steady(ReconfigurablePollingChangeSource):
    """Left alone by a reconfig that does not change it, and polled at the app's own place."""

    # For the scheduler: seconds between two checks whatever is seen here.
    checkInterval: int | None = None

    @defer.inlineCallbacks
    def reconfigServiceWithSibling(self, sibling: Any) -> Any:
        self.checkInterval = sibling.checkInterval
        same = (
            type(self) is type(sibling)
            and self._config_args == sibling._config_args
            and self._config_kwargs == sibling._config_kwargs
        )
        if not self.configured or not same:
            yield super().reconfigServiceWithSibling(sibling)
            self._config_args = sibling._config_args
            self._config_kwargs = sibling._config_kwargs

    @defer.inlineCallbacks
    def activate(self) -> Any:
        yield super().activate()
        # The interval is counted from here; Buildbot's Poller takes no other start.
        self.doPoll._start_time = placement.place(self.name or "", self.pollInterval or 1)
        self.doPoll._schedule()


class AppHgPoller(_Steady, HgPoller):
    """Buildbot's HgPoller for one app."""


class AppSvnPoller(_Steady, SVNPoller):
    """Buildbot's SVNPoller for one app."""


def app_hg_poller(
    app_id: str,
    repourl: str,
    *,
    branch: str | None = None,
    pollInterval: int = 6 * 60 * 60,
    checkInterval: int | None = None,
    category: str = "app-source",
) -> HgPoller:
    """Watch a branch of a Mercurial repository (default: `default`)."""
    poller = AppHgPoller(
        repourl,
        name=app_id,
        project=app_id,
        branch=branch,
        workdir=str(_FOLDER / app_id),
        pollInterval=pollInterval,
        category=category,
    )
    poller.checkInterval = checkInterval
    return poller


def app_svn_poller(
    app_id: str,
    repourl: str,
    *,
    pollInterval: int = 6 * 60 * 60,
    checkInterval: int | None = None,
    category: str = "app-source",
) -> SVNPoller:
    """Watch a folder of a Subversion repository, all that is below it."""
    poller = AppSvnPoller(
        repourl,
        name=app_id,
        project=app_id,
        cachepath=f"app-source-{app_id}.svn-revision",
        pollInterval=pollInterval,
        category=category,
    )
    poller.checkInterval = checkInterval
    return poller
