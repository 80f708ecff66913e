# SPDX-License-Identifier: GPL-2.0-or-later
"""How the repositories of apps fare, in two files of the output directory.

`status/app-sources.json` lists those that fail, for people; `metrics/app-sources.prom` counts, for
the node exporter of Prometheus. What Buildbot lacked: a poller that fails says so in the log, and
nowhere is told which have failed for weeks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, generate_latest
from twisted.internet import threads

from . import output
from .hosts import Host
from .repository import Failing, Repository

LIST = "status/app-sources.json"
METRICS = "metrics/app-sources.prom"


class Report:
    """Written each minute, whole or not at all. Times are in UTC."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._registry = CollectorRegistry()

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(f"fdroid_bb_app_source_{name}", what, registry=self._registry)

        self._apps = gauge("apps", "apps that are polled")
        self._repositories = gauge("repositories", "repositories that are polled")
        self._failing = gauge("failing", "repositories whose last poll failed")
        self._dead = gauge("dead", "repositories that have failed for long")
        self._hosts_down = gauge("hosts_down", "hosts that are left alone for now")
        self._owed = gauge("owed", "repositories whose turn was missed and is made up for")
        self._polls = Counter(
            "fdroid_bb_app_source_polls", "polls", ["result"], registry=self._registry
        )
        self._seconds = Summary(
            "fdroid_bb_app_source_poll_seconds", "time of polls", registry=self._registry
        )

    def count(self, result: str, seconds: float) -> None:
        """Count a poll; `result` is `success` or `failure`."""
        self._polls.labels(result).inc()
        self._seconds.observe(seconds)

    def take(self, repositories: Iterable[Repository], hosts: Iterable[Host], *, owed: int) -> str:
        """Take down how all fare: give the list as it is to be written, and set the numbers."""
        repositories = list(repositories)
        failing = [_entry(r, r.failing) for r in repositories if r.failing is not None]
        failing.sort(key=lambda entry: (not entry["dead"], entry["since"], entry["repository"]))
        down = [
            {"host": h.name, "since": _time(h.down_since), "asked_again_after_seconds": h.pause}
            for h in hosts
            if h.down_since is not None
        ]
        self._apps.set(sum(len(r.members) for r in repositories))
        self._repositories.set(len(repositories))
        self._failing.set(len(failing))
        self._dead.set(sum(entry["dead"] for entry in failing))
        self._hosts_down.set(len(down))
        self._owed.set(owed)
        return json.dumps({"hosts_down": down, "failing": failing}, indent=1)

    async def write(self, document: str) -> None:
        """Write both files anew."""
        await threads.deferToThread(self._write, document)

    def _write(self, document: str) -> None:
        output.write(self._master, METRICS, generate_latest(self._registry).decode())
        output.write(self._master, LIST, document + "\n")


def _entry(repository: Repository, failing: Failing) -> dict[str, Any]:
    return {
        "repository": repository.remote.url,
        "watched": repository.watch.wanted,
        "apps": sorted(repository.members),
        "dead": repository.dead,
        "since": _time(failing.since),
        "polls": failing.polls,
        "why": failing.why,
    }


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")
