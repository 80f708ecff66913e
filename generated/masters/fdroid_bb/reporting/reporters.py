# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell people of builds: a mail for each new cause of failure, or a commit's state in GitLab.

What Buildbot lacked: it tells of each failed build anew. When a repository is down, a disk full or
an app broken for weeks, that is hundreds of mails for one cause. And it looks for a build's project
in GitLab by the repository of its change, which here is the app's, or a quoted one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from buildbot import interfaces
from buildbot.process.properties import Interpolate
from buildbot.process.results import (
    EXCEPTION,
    FAILURE,
    RETRY,
    SUCCESS,
    WARNINGS,
    statusToString,
)
from buildbot.reporters import utils
from buildbot.reporters.gitlab import GitLabStatusPush
from buildbot.reporters.mail import MailNotifier
from buildbot.util import ComparableMixin
from buildbot.util.state import StateMixin
from twisted.internet import defer
from zope.interface.declarations import implementer

from ..common import blame
from ..common.app_id import app_id
from ..common.process import printable
from ..machines import starts

# When so many apps in a row fail in the same step, it is no longer the apps.
_ROW = 3

# Lines from the end of the failed step's log that a mail holds.
_LINES = 40

# Characters of a subject that says what the infrastructure failed of.
_SUBJECT = 150

# Steps that come before anything of an app is touched: their failure has the same cause for all.
_SHARED = re.compile(r"\A(worker_preparation|locks_acquire|git .*)\Z")


@implementer(interfaces.IReportGenerator)
class NewCauses(ComparableMixin):
    """A report of a failed build, unless its cause was reported already.

    A cause is a builder, the step that failed, and the app, if the step has to do with one and it
    was not the infrastructure that failed. It is forgotten when that step succeeds again. After
    `_ROW` apps that fail in the same step with none between that does not, further ones are not
    reported either. What was reported is in the database, so a restart reports nothing twice.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("builders",)
    wanted_event_keys: ClassVar[list[Any]] = [("builds", None, "finished"), starts.EVENT]

    def __init__(self, builders: Sequence[str]) -> None:
        self.builders = list(builders)
        self._turn = defer.DeferredLock()

    def check(self) -> None:
        """There is nothing to check."""

    def generate_name(self) -> str:
        """For Buildbot."""
        return f"NewCauses_{'+'.join(self.builders)}"

    def generate(self, master: Any, reporter: Any, key: Any, build: Any) -> defer.Deferred[Any]:
        """The report, or None."""
        if key == starts.EVENT:
            return defer.succeed(self._of_starts(build))
        return self._turn.run(lambda: defer.ensureDeferred(self._generate(master, reporter, build)))

    async def _generate(self, master: Any, reporter: Any, build: Any) -> dict[str, Any] | None:
        await utils.getDetailsForBuild(master, build, want_properties=True, want_steps=True)
        # Not `builder`, which is the app's page.
        builder = _value(build, "buildername")
        if builder not in self.builders:
            return None
        # It becomes part of a header, and may be what was refused.
        app = app_id(_value(build, "packageName")) or ""
        ours, known = blame.is_infrastructure(build), blame.failed_step(build)
        told = set(map(tuple, await reporter.getState("told", [])))
        row: dict[str, int] = await reporter.getState("row", {})
        before = (set(told), dict(row))
        failed = None
        for step in build["steps"]:
            everybodys = (builder, step["name"], "")
            cause = everybodys if _SHARED.match(step["name"]) else (*everybodys[:2], app)
            if step["results"] in (SUCCESS, WARNINGS):
                told -= {cause, everybodys}
                row.pop(f"{builder}/{step['name']}", None)
            elif step["results"] in (FAILURE, EXCEPTION, RETRY) and failed is None:
                if known not in (None, step["name"]):
                    # A failure of this one is only a warning.
                    continue
                failed = (step, everybodys if ours else cause)
        report = None
        if build["results"] in (FAILURE, EXCEPTION):
            step, cause = failed or (None, (builder, "", "" if ours else app))
            if cause not in told:
                place = f"{builder}/{cause[1]}"
                row[place] = min(row.get(place, 0) + 1, _ROW + 1)
                if row[place] <= _ROW:
                    told.add(cause)
                    last = row[place] == _ROW
                    report = await self._report(master, build, builder, app, step, last=last)
        if (told, row) != before:
            await reporter.setState("told", sorted(told))
            await reporter.setState("row", row)
        return report

    def _of_starts(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Of workers that cannot be started, and of the end of that."""
        builders = [name for name in message["builders"] if name in self.builders]
        over = message["over"]
        # Of a build that was not tried again there is a report already.
        if not builders or not (message["retried"] or over):
            return None
        who = ", ".join(message["workers"])
        if over:
            subject = f"{who}: attempts to start no longer fail"
            lines = [f"It is over: {over}. The cause was:", "", message["words"]]
        else:
            subject = f"{who}: cannot be started"
            lines = [
                f"{message['attempts']} attempts to start {who} have failed with the same cause:",
                "",
                message["words"],
                "",
                f"Builds of {', '.join(builders)} wait for them, and are tried again with growing",
                "pauses, of up to an hour. The log of worker_preparation of each build says more.",
                "",
                "There is no further mail of this cause until one of these workers has started.",
            ]
        return _report_of("\n".join(lines), subject)

    async def _report(
        self, master: Any, build: Any, builder: str, app: str, step: Any, *, last: bool
    ) -> dict[str, Any]:
        where = f" in «{step['name']}»" if step is not None else ""
        subject = f"{f'{builder} {app}'.strip()}: {statusToString(build['results'])}{where}"
        lines = [f"{subject}."]
        if blame.is_infrastructure(build):
            subject = printable(f"{builder}: {build['state_string']}", _SUBJECT)
            lines = [f"{builder}: {build['state_string']}.", "The app is not to blame."]
        elif build["properties"].get(blame.PROPERTY):
            lines.append(f"{build['state_string']}.")
        lines += [
            "",
            f"Build:  {build['url']}",
            f"Worker: {_value(build, 'workername')}",
        ]
        if step is not None:
            tail = await _tail(master, step["stepid"])
            lines += ["", f"The last lines of «{step['name']}»:", "", *tail] if tail else []
        lines += ["", "There is no further mail while this goes on failing in the same way."]
        if last:
            lines += [
                f"It is the {_ROW}rd app in a row: there is none of others either, until one of "
                "them gets past this step."
            ]
        report = _report_of("\n".join(lines), subject)
        return {**report, "builds": [build], "results": build["results"]}


def _report_of(body: str, subject: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"users": [], "patches": [], "logs": [], "builds": []}
    return {**nothing, "body": body, "subject": subject, "type": "plain", "results": None}


def _value(build: Any, name: str) -> str | None:
    value = build["properties"].get(name, (None,))[0]
    return None if value is None else str(value)


async def _tail(master: Any, stepid: int) -> list[str]:
    """The end of the step's last log, without what says whether it is output or error."""
    found = await master.data.get(("steps", stepid, "logs"))
    logs = [entry for entry in found if entry["name"] != blame.SUMMARY]
    if not logs:
        return []
    number = logs[-1]["num_lines"]
    first = max(0, number - _LINES)
    content: str = (await master.db.logs.getLogLines(logs[-1]["logid"], first, number)) or ""
    stream = logs[-1]["type"] == "s"
    return [line[1:] if stream else line for line in content.splitlines()]


class FailureMail(MailNotifier, StateMixin):
    """Mails `recipients` the first failure of each cause."""

    def checkConfig(  # type: ignore[override]  # each service has arguments of its own
        self, *, builders: Sequence[str], recipients: Sequence[str], **kwargs: Any
    ) -> None:
        """As Buildbot's."""
        super().checkConfig(**_mail(builders, recipients, kwargs))

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, *, builders: Sequence[str], recipients: Sequence[str], **kwargs: Any
    ) -> Any:
        """As Buildbot's."""
        return super().reconfigService(**_mail(builders, recipients, kwargs))


def _mail(
    builders: Sequence[str], recipients: Sequence[str], others: dict[str, Any]
) -> dict[str, Any]:
    return {
        **others,
        "generators": [NewCauses(builders)],
        "extraRecipients": list(recipients),
        "sendToInterestedUsers": False,
    }


class CommitStatus(GitLabStatusPush):
    """Sets the state of each build at the commit of `project` that it checked out."""

    def checkConfig(  # type: ignore[override]  # each service has arguments of its own
        self, *, builders: Sequence[str], project: str, token: Any
    ) -> None:
        """As Buildbot's."""
        super().checkConfig(token)

    def reconfigService(  # type: ignore[override]  # each service has arguments of its own
        self, *, builders: Sequence[str], project: str, token: Any
    ) -> Any:
        """As Buildbot's."""
        url = urlsplit(project)
        self._builders = list(builders)
        self._project = quote(url.path.strip("/").removesuffix(".git"), safe="")
        context = "%(prop:buildername)s %(prop:packageName:-)s:%(prop:versionCode:-)s"
        return super().reconfigService(
            token, context=Interpolate(context), baseURL=f"{url.scheme}://{url.netloc}"
        )

    def getProjectId(self, sourcestamp: Any) -> defer.Deferred[str]:
        """GitLab takes the path of a project for its number."""
        return defer.succeed(self._project)

    def sendMessage(self, reports: Any) -> Any:
        """Tell of builds of a whole commit of the project; others have no place there."""
        build = reports[0]["builds"][0]
        if _value(build, "buildername") not in self._builders:
            return defer.succeed(None)
        commit = _value(build, "got_revision") or ""
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
            return defer.succeed(None)
        stamps = [{**build["buildset"]["sourcestamps"][0], "revision": commit}]
        told = {**build, "buildset": {**build["buildset"], "sourcestamps": stamps}}
        return super().sendMessage([{**reports[0], "builds": [told]}])
