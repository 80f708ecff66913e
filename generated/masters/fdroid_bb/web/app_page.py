# SPDX-License-Identifier: GPL-2.0-or-later
"""A page for each app: its builds of all builders, with links to where the app lives.

What Buildbot lacked: a builder for each app takes minutes to start when there are thousands.
Its «virtual builders» are made by the builds themselves, but their names must be known before
any step has checked the properties, and their descriptions cannot have links.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from buildbot.process.build import Build
from buildbot.process.builder import Builder
from buildbot.process.factory import BuildFactory
from twisted.internet import defer, threads

from ..common.app_id import app_id

# Where builds are shown whose property is no application id, and so will be refused.
_REFUSED = "(no app)"

_TAG = "_virtual_"

# The folders of the masters, of which one may poll the sources of apps.
_MASTERS = Path(__file__).resolve().parents[2]


class AppBuild(Build):
    """A build that is shown on the page of its app, whichever builder it is of."""

    page: str
    metadata_url: str

    def getBuilderId(self) -> defer.Deferred[int]:
        """The id of the app's page."""
        return defer.ensureDeferred(self._page_id())

    async def _page_id(self) -> int:
        master: Any = self.master
        if self._builderid is None:
            app = app_id(self.getProperty(self.page)) or next(
                (str(s.project) for s in self.getAllSourceStamps() if app_id(s.project)), None
            )
            name = app or _REFUSED
            if name in master.botmaster.builders:
                # An app may have any name, also one that is a real builder's.
                name = f"{name} (app)"
            self.setProperty(self.VIRTUAL_BUILDERNAME_PROP, name, "AppBuild")
            builder: Any = self.builder
            builderid = await builder.getBuilderIdForName(name)
            if app is not None:
                project = await builder.find_project_id(builder.config.project)
                await master.data.updates.updateBuilderInfo(
                    builderid,
                    f"all builds of {app}",
                    "html",
                    await threads.deferToThread(_links, app, self.metadata_url.format(app)),
                    project,
                    [_TAG],
                )
            # Last, for who asks meanwhile must wait for all of this too.
            self._builderid = builderid
        found: Any = self._builderid
        return int(found)


def _links(app: str, metadata_url: str) -> str:
    links = {
        "source": source_of(app),
        "metadata": metadata_url,
        "f-droid.org": f"https://f-droid.org/packages/{app}/",
    }
    return " · ".join(
        f'<a href="{html.escape(url)}">{html.escape(name)}</a>'
        for name, url in links.items()
        if url is not None
    )


class AppFactory(BuildFactory):
    """Makes builds that are shown by the value of the property `page`, an application id.

    `metadata_url` leads to the app's metadata, with `{}` for its id.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("page", "metadata_url")
    buildClass = AppBuild

    def __init__(self, steps: Sequence[Any], *, page: str, metadata_url: str) -> None:
        super().__init__(steps)
        self.page = page
        self.metadata_url = metadata_url

    def newBuild(self, requests: Any, builder: Builder) -> Build:
        """As Buildbot's, for the page."""
        build = super().newBuild(requests, builder)
        assert isinstance(build, AppBuild)
        build.page = self.page
        build.metadata_url = self.metadata_url
        return build


def source_of(app: str, masters: Path = _MASTERS) -> str | None:
    """Where the app's source is, if a master beside this one polls it and people can look at it.

    Reads what the compiler wrote: one line for each app.
    """
    line = re.compile(rf'^    \w+\("{re.escape(app)}", "(https?://[^"\\]+)"', re.MULTILINE)
    for pollers in sorted(masters.glob("*/pollers.py")):
        found = line.search(pollers.read_text(encoding="utf-8"))
        if found is not None:
            return found[1]
    return None
