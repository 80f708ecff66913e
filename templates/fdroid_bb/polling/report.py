# SPDX-License-Identifier: GPL-2.0-or-later
"""How the repositories of apps fare, in two files of the output directory.

`status/app-sources.json` lists those that fail, for people; `metrics/app-sources.prom` counts, for
the node exporter of Prometheus. What Buildbot lacked: a poller that fails says so in the log, and
nowhere is told which have failed for weeks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, generate_latest
from twisted.internet import threads

from ..common import output
from .hosts import Host
from .repository import Failing, Repository
from .slots import IN_ALL, Slots

LIST = "status/app-sources.json"
METRICS = "metrics/app-sources.prom"


# Hosts that have a line of their own among the numbers: those with the most repositories. The
# others share one.
_HOSTS = 30
_OTHERS = "others"

# A repository is overdue when its last poll is older than so many intervals.
_OVERDUE = 1.5


class Office(Protocol):
    """All that is polled, as the report needs to know it."""

    slots: Slots
    hosts: dict[str, Host]
    started: float

    @property
    def network_away(self) -> bool:
        """Whether no host at all says a word."""


class Report:
    """Written each minute, whole or not at all. Times are in UTC."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._registry = CollectorRegistry()

        def gauge(name: str, what: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"fdroid_bb_app_source_{name}", what, labels, registry=self._registry)

        self._written = gauge("written_timestamp_seconds", "when this was written, in Unix time")
        self._apps = gauge("apps", "apps that are polled")
        self._repositories = gauge("repositories", "repositories that are polled")
        self._failing = gauge("failing", "repositories that fail")
        self._dead = gauge("dead", "repositories that have failed for long")
        self._overdue = gauge("overdue", "repositories that were not polled for 1.5 intervals")
        self._owed = gauge("owed", "repositories whose turn was missed and is made up for")
        self._waiting = gauge("queue_length", "polls that wait for a slot")
        self._in_use = gauge("slots_in_use", "polls under way")
        self._slots = gauge("slots", "polls that can be under way at once")
        self._hosts = gauge("hosts", "hosts that are polled")
        self._hosts_down = gauge("hosts_down", "hosts that are left alone for now")
        self._hosts_waited_for = gauge("hosts_waited_for", "hosts that told us to wait")
        self._apps_down = gauge("apps_down", "apps whose host is left alone for now")
        self._network_away = gauge("network_away", "whether no host at all answers")
        each = ["host"]
        self._host_last_poll = gauge(
            "host_last_poll_timestamp_seconds", "when a host was asked last, in Unix time", each
        )
        self._host_repositories = gauge("host_repositories", "repositories of a host", each)
        self._host_overdue = gauge("host_overdue", "overdue repositories of a host", each)
        self._host_down = gauge("host_down", "whether a host is left alone for now", each)
        self._polls = Counter(
            "fdroid_bb_app_source_polls", "polls", ["result"], registry=self._registry
        )
        self._seconds = Summary(
            "fdroid_bb_app_source_poll_seconds", "time of polls", registry=self._registry
        )

    def count(self, result: str, seconds: float) -> None:
        """Count a poll; `result` is `success`, `empty` or `failure`."""
        self._polls.labels(result).inc()
        self._seconds.observe(seconds)

    def take(self, repositories: Iterable[Repository], office: Office, now: float) -> str:
        """Take down how all fare: give the list as it is to be written, and set the numbers."""
        repositories = list(repositories)
        failing = [_entry(r, r.failing) for r in repositories if r.failing is not None]
        failing.sort(key=lambda entry: (not entry["dead"], entry["since"], entry["repository"]))
        hosts = sorted(office.hosts.values(), key=lambda host: (-len(host.tenants), host.name))
        down = [_outage(h, h.down_since) for h in hosts if h.down_since is not None]
        overdue = {host: _overdue(host, now, office.started) for host in hosts}
        apps = sum(host.apps for host in hosts)
        self._written.set(now)
        self._apps.set(apps)
        self._repositories.set(len(repositories))
        self._failing.set(len(failing))
        self._dead.set(sum(entry["dead"] for entry in failing))
        self._overdue.set(sum(overdue.values()))
        self._owed.set(sum(len(host.owed) for host in hosts))
        self._waiting.set(office.slots.waiting)
        self._in_use.set(office.slots.in_use)
        self._slots.set(IN_ALL)
        self._hosts.set(len(hosts))
        self._hosts_down.set(len(down))
        self._hosts_waited_for.set(sum(host.told_to_wait for host in hosts))
        self._apps_down.set(sum(entry["apps"] for entry in down))
        self._network_away.set(office.network_away)
        self._take_hosts(hosts, overdue, office.started)
        document = {
            "network_away": office.network_away,
            "apps": apps,
            "hosts_down": down,
            "failing": failing,
        }
        return json.dumps(document, indent=1)

    def _take_hosts(self, hosts: list[Host], overdue: dict[Host, int], started: float) -> None:
        gauges = (
            self._host_last_poll,
            self._host_repositories,
            self._host_overdue,
            self._host_down,
        )
        for each in gauges:
            each.clear()
        named = [(host.name, [host]) for host in hosts[:_HOSTS]]
        for name, those in [*named, (_OTHERS, hosts[_HOSTS:])]:
            if those:
                last_poll = min(host.last_poll or started for host in those)
                repositories = sum(len(host.tenants) for host in those)
                numbers = (
                    last_poll,
                    repositories,
                    sum(overdue[host] for host in those),
                    sum(host.down for host in those),
                )
                for each, number in zip(gauges, numbers, strict=True):
                    each.labels(name).set(number)

    async def write(self, document: str) -> None:
        """Write both files anew."""
        await threads.deferToThread(self._write, document)

    def _write(self, document: str) -> None:
        output.write(self._master, METRICS, generate_latest(self._registry).decode())
        output.write(self._master, LIST, document + "\n")


def _overdue(host: Host, now: float, started: float) -> int:
    ages = ((now - (tenant.last_poll or started), tenant.interval) for tenant in host.tenants)
    return sum(age > _OVERDUE * interval for age, interval in ages)


def _outage(host: Host, since: float) -> dict[str, Any]:
    return {
        "host": host.name,
        "since": _time(since),
        "asked_again": _time(host.asked_again),
        "told_us_to_wait": host.told_to_wait,
        "repositories": len(host.tenants),
        "apps": host.apps,
        "why": host.why,
    }


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
