# SPDX-License-Identifier: GPL-2.0-or-later
"""Poll one app's git repository with a single `git ls-remote`.

What Buildbot lacked: GitPoller mirrors each repository on the master's disk, starts two
processes for each tag at every poll, and makes a Change of each commit behind a new tag. Its
polls start together, a full interval after the master did. For 4,000 apps none of this holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import re2
from buildbot.changes.gitpoller import GitPoller
from buildbot.config.errors import error as config_error
from twisted.internet import defer, threads
from twisted.python import log
from twisted.python.failure import Failure

from ..common.process import describe, printable
from ..common.saved import recalled
from . import claims, refs, sources
from .ls_remote import Remote, Watch
from .repository import Repository

# Tags named in a Change's comments.
_NAMED = 20


@dataclass(frozen=True)
class Seen:
    """What the last poll saw, as it stands in the state: what was watched, and the refs."""

    watch: str
    refs: str


class AppGitPoller(GitPoller):
    """Makes one Change when the tags or the branch of an app's repository move.

    `tags` None and `branch` None watch the default branch, whatever its name is; `tags=""`
    watches every tag; another `tags` those that match the pattern from their start, as Python's
    `re.match` would. With `head` the default branch is watched besides the tags. A deleted tag is
    no news. The first poll only records. `checkInterval` is for the scheduler: seconds between two
    checks whatever is seen here.
    """

    compare_attrs: ClassVar[Sequence[str]] = (
        "tags",
        "branch",
        "head",
        "allow_protocol",
        "operator",
        "checkInterval",
        "timeout",
    )

    def __init__(
        self,
        app_id: str,
        repourl: str,
        *,
        tags: str | None = None,
        branch: str | None = None,
        head: bool = False,
        pollInterval: int = 6 * 60 * 60,
        checkInterval: int | None = None,
        category: str = "app-source",
        allow_protocol: str = "https",
        operator: str | None = None,
        timeout: int = 60,
    ) -> None:
        self._repository: Repository | None = None
        # Why it does not work at all, for `health.py`.
        self.problem: str | None = None
        self._recording = defer.DeferredLock()
        super().__init__(
            repourl,
            name=app_id,
            app_id=app_id,
            tags=tags,
            branch=branch,
            head=head,
            pollInterval=pollInterval,
            checkInterval=checkInterval,
            category=category,
            allow_protocol=allow_protocol,
            operator=operator,
            timeout=timeout,
        )

    def checkConfig(  # type: ignore[override]  # each service has arguments of its own
        self, repourl: str, *, app_id: str, **kwargs: Any
    ) -> None:
        """Refuse what cannot work, and take the rest: two pollers compare by what they took."""
        super().checkConfig(repourl, name=app_id, pollInterval=kwargs["pollInterval"])
        if kwargs["tags"] is not None and kwargs["branch"] is not None:
            config_error(f"AppGitPoller {app_id}: give either tags or branch")
        if kwargs["pollInterval"] < 1:
            config_error(f"AppGitPoller {app_id}: pollInterval must be at least a second")
        self._adopt(repourl, app_id=app_id, **kwargs)

    def _adopt(
        self,
        repourl: str,
        *,
        app_id: str,
        tags: str | None,
        branch: str | None,
        head: bool,
        pollInterval: int,
        checkInterval: int | None,
        category: str,
        allow_protocol: str,
        operator: str | None,
        timeout: int,
    ) -> None:
        self.app_id = self.project = app_id
        self.repourl = repourl
        self.tags = tags
        self.branch = branch
        self.branches = [branch] if branch else None
        self.head = head
        self.pollInterval = pollInterval
        self.checkInterval = checkInterval
        self.category = category
        self.allow_protocol = allow_protocol
        self.operator = operator
        self.timeout = timeout

    @defer.inlineCallbacks
    def reconfigServiceWithSibling(self, sibling: Any) -> Any:
        """Also keep the new arguments: Buildbot goes on comparing with the first ones."""
        yield super().reconfigServiceWithSibling(sibling)
        self._config_args = sibling._config_args
        self._config_kwargs = sibling._config_kwargs

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, repourl: str, **kwargs: Any
    ) -> defer.Deferred[None]:
        """Take new arguments while running. A poll under way is not waited for, nor lost."""
        old = self._repository
        self._adopt(repourl, **kwargs)
        if old is None:
            return defer.succeed(None)
        if (old.remote, old.watch) == (self._remote(), self._watch()):
            old.schedule()
            return defer.succeed(None)
        polling = old.busy
        self._leave()
        self._join()
        if polling:
            self.force()
        return defer.succeed(None)

    @property
    def objectid(self) -> int | None:  # type: ignore[override]  # an attribute there
        """Absent: Buildbot would make a row for it, one poller after the other, and not read it."""
        raise AttributeError("objectid")

    def startService(self) -> defer.Deferred[None]:
        """Start without waiting for the claim: the next poller's then goes with it."""
        super().startService().addErrback(self._not_started)
        return defer.succeed(None)

    def _not_started(self, failure: Failure) -> None:
        self._failed(failure)
        self.problem = describe(failure.value)

    async def _claim(self) -> bool:
        self.serviceid, claimed = await claims.of(self.master).claim(self.app_id)
        return claimed

    def _getServiceId(self) -> defer.Deferred[int]:
        return defer.succeed(0)  # the real one comes with the claim

    def _claimService(self) -> defer.Deferred[bool]:
        return defer.ensureDeferred(self._claim())

    def _unclaimService(self) -> defer.Deferred[bool]:
        assert self.serviceid is not None
        return claims.of(self.master).release(self.serviceid)

    def describe(self) -> str:
        """For the list of change sources."""
        return f"AppGitPoller {self.app_id} watching {self.repourl}"

    @property
    def interval(self) -> int:
        """Seconds from one poll to the next."""
        return self.pollInterval or 1

    def _remote(self) -> Remote:
        return Remote(self.repourl, self.allow_protocol, self.timeout, self.operator)

    def _watch(self) -> Watch:
        return Watch(tags=self.tags is not None, branch=self.branch, head=self.head)

    def _join(self) -> None:
        self._repository = sources.of(self.master).join(self, self._remote(), self._watch())

    def _leave(self) -> defer.Deferred[None]:
        repository, self._repository = self._repository, None
        if repository is None:
            return defer.succeed(None)
        return sources.of(self.master).leave(self, repository)

    def activate(self) -> defer.Deferred[None]:
        """Wait for the app's next turn; nothing is read or polled when a master starts."""
        self._join()
        return defer.succeed(None)

    async def _deactivate(self) -> None:
        await self._leave()
        await self._recording.run(lambda: None)

    def deactivate(self) -> defer.Deferred[None]:
        """Stop. Only a write to the database under way is waited for."""
        return defer.ensureDeferred(self._deactivate())

    def force(self) -> None:
        """Poll now, unless a poll is under way."""
        if self._repository is not None:
            self._repository.ask()

    def poll(self) -> defer.Deferred[None]:  # type: ignore[override]  # Deferred, not generator
        """Poll now, as `force` does: whoever asks does not wait for a stranger's server."""
        self.force()
        return defer.succeed(None)

    def _failed(self, failure: Failure) -> None:
        log.msg(f"AppGitPoller {self.app_id}: failed: {describe(failure.value)}")

    def heard(self, repository: Repository, answer: refs.Answer) -> defer.Deferred[None]:
        """Make of the answer a Change or none. Never fails: others wait for it too."""
        heard = self._recording.run(lambda: defer.ensureDeferred(self._record(repository, answer)))
        return heard.addErrback(self._failed)

    async def _record(self, repository: Repository, answer: refs.Answer) -> None:
        """Compare with what the last poll saw, tell the news, and remember."""
        if self._repository is not repository:
            # A reconfig sent this app elsewhere in the meantime.
            return
        wanted = repository.watch.wanted
        saved = await self.getState("refs", None)
        before = None if saved is None else recalled(Seen, saved, self.app_id)
        # Another watch, say tags now and a branch before, is a first poll again. The pattern is
        # no part of it: all tags are remembered, so that a wider pattern has no old news.
        known = before.refs if before is not None and before.watch == wanted else None
        # Not in the reactor's thread: a server may claim a hundred thousand tags.
        seen, news = await threads.deferToThread(refs.compare, answer, known)
        if known is not None and (seen == known or not answer.refs):
            # A repository that is empty for a moment, while it is moved, say, is not forgotten.
            return
        if news:
            matching = await self._matching(news)
            if matching:
                await self._add_change(matching, answer)
        await self.setState("refs", {"watch": wanted, "refs": seen})

    async def _matching(self, names: list[str]) -> list[str]:
        try:
            return await threads.deferToThread(refs.matching, self.tags, names)
        except re2.error as e:
            # The compiler gives such patterns as `tags=""`; missing a release would be worse.
            why = printable(str(e))
            log.msg(f"AppGitPoller {self.app_id}: every tag counts, its pattern is refused: {why}")
            return await threads.deferToThread(refs.matching, None, names)

    async def _add_change(self, names: list[str], answer: refs.Answer) -> None:
        first, *others = names
        label = answer.default_branch or "HEAD" if first == "HEAD" else refs.short(first)
        comments = f"{label} is new in {self.repourl}"
        if others:
            more = ", ".join(map(refs.short, others[:_NAMED]))
            rest = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            comments = f"{comments}\nand also {more}{rest}"
        link = self.repourl if self.repourl.startswith(("https://", "http://")) else ""
        await self.master.data.updates.addChange(
            author="app source",
            comments=comments,
            files=[],
            revision=answer.refs[first],
            branch=label,
            category=self.category,
            project=self.app_id,
            repository=self.repourl,
            revlink=link if len(link) <= 256 else "",
            properties={"packageName": self.app_id},
        )
