# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell a server of each build.

What Buildbot lacked: its `HttpStatusPush` sends a report once, waits for as long as the server
takes, follows it to wherever it redirects, and sends all that is known of a build.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.results import statusToString
from buildbot.reporters.generators.build import BuildStatusGenerator
from buildbot.reporters.http import HttpStatusPush
from buildbot.reporters.message import MessageFormatterFunction
from buildbot.util import asyncSleep
from twisted.internet import defer
from twisted.python import log

# Seconds before each repetition.
PAUSES = (5, 30, 120)

# Seconds that the server has to answer.
_LIMIT = 30

# Reports that wait at most; further ones are lost.
_MOST = 1000


class HttpStatus(HttpStatusPush):
    """Sends `url` a JSON document when a build of one of `builders` starts and when it ends.

    They are sent one after the other, each again after a failure that may pass.
    """

    secrets = ["headers"]  # as Buildbot's

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._url = ""
        self._waiting: deque[Any] = deque()
        self._sending: defer.Deferred[None] | None = None

    def checkConfig(  # type: ignore[override]  # each service has arguments of its own
        self, *, builders: Sequence[str], url: str, headers: Mapping[str, Any] | None = None
    ) -> None:
        """As Buildbot's."""
        super().checkConfig(url, generators=[_generator(builders)])

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, *, builders: Sequence[str], url: str, headers: Mapping[str, Any] | None = None
    ) -> Any:
        """As Buildbot's."""
        self._url = url
        return super().reconfigService(
            url.rstrip("/"), headers=dict(headers or {}), generators=[_generator(builders)]
        )

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Send no more."""
        self._waiting.clear()
        if self._sending is not None:
            self._sending.cancel()
        yield super().stopService()

    def sendMessage(self, reports: Any) -> Any:
        """Have it sent."""
        if len(self._waiting) >= _MOST:
            log.msg(f"{self.name}: {_MOST} reports wait already, so this one is lost")
            return defer.succeed(None)
        self._waiting.append(reports[0]["body"])
        if self._sending is None:
            self._sending = defer.ensureDeferred(self._send_all())
            self._sending.addBoth(self._sent_all)
        return defer.succeed(None)

    def _sent_all(self, result: Any) -> None:
        self._sending = None

    async def _send_all(self) -> None:
        while self._waiting:
            await self._send(self._waiting.popleft())

    async def _send(self, body: Any) -> None:
        for pause in (*PAUSES, None):
            problem, may_pass = await self._post(body)
            if problem is None:
                return
            if pause is None or not may_pass:
                log.msg(f"{self.name}: a report is lost: {problem}")
                return
            await asyncSleep(pause, self.master.reactor)

    async def _post(self, body: Any) -> tuple[str | None, bool]:
        """What went wrong, if anything, and whether that may pass."""
        try:
            # To nobody else, for the headers are secret.
            answer = await self._http.post(
                self._url, json=body, timeout=_LIMIT, allow_redirects=False
            )
        except defer.CancelledError:
            raise
        except Exception as e:  # whatever requests and sockets raise
            return type(e).__name__, True
        if answer.code // 100 == 2:
            return None, False
        return f"status {answer.code}", answer.code // 100 == 5 or answer.code in (408, 429)


def _generator(builders: Sequence[str]) -> BuildStatusGenerator:
    formatter = MessageFormatterFunction(_document, "json", want_properties=True)
    return BuildStatusGenerator(
        mode="all", builders=list(builders), report_new=True, message_formatter=formatter
    )


def _document(context: Mapping[str, Any]) -> dict[str, Any]:
    build = context["build"]
    results = build["results"]
    return {
        "builder": build["builder"]["name"],
        "number": build["number"],
        "url": build["url"],
        "started": build["started_at"],
        "ended": build["complete_at"],
        "result": None if results is None else statusToString(results),
        "properties": {name: value for name, (value, _) in build["properties"].items()},
    }
