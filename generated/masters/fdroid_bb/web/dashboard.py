# SPDX-License-Identifier: GPL-2.0-or-later
"""One page that tells how the builds of all apps fare.

What Buildbot lacked: its pages are about one builder or one build. With thousands of apps, nobody
sees which fail, what waits before what, and whether the configuration still follows fdroiddata.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from buildbot.process.results import EXCEPTION, FAILURE, Results
from jinja2 import Environment
from twisted.internet import reactor, threads

from ..common import blame, output, pauses
from ..polling.report import LIST

# Rows that a table shows; how many more there are is said.
_ROWS = 200

# Characters of a property that are shown.
_WIDTH = 100

# Seconds after which what is written each minute is old.
_OLD = 10 * 60

# The largest file that is read, in bytes.
_LARGEST = 16 * 1024 * 1024

# The folder of what was generated; `provenance.json` says from what.
_MASTERS = Path(__file__).resolve().parents[2]

_PAGE = """\
{% macro table(title, heads, rows, more, nothing) %}
<h4>{{ title }}</h4>
{% if rows %}
<table class="table table-sm">
<thead><tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td>
{%- if cell is mapping %}<a href="#/{{ cell.to }}">{{ cell.text }}</a>
{%- else %}{{ cell }}{% endif -%}
</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
{% if more > 0 %}<p>and {{ more }} more</p>{% endif %}
{% else %}<p>{{ nothing }}</p>{% endif %}
{% endmacro %}
<div class="container">
{% for line in paused %}<p class="alert alert-warning">paused: {{ line }}</p>{% endfor %}
<h4>Sources of apps</h4>
<p{% if sources_alarm %} class="alert alert-danger"{% endif %}>{{ sources }}</p>
{% if down %}
{{ table("Hosts that do not answer", ["host", "apps", "since", "asked again", "why"], down,
         down_more, "none") }}
{% endif %}
{{ table("Running builds", ["app", "builder", "worker", "for"], running, 0, "none") }}
{{ table("Queue", ["position", "app", "builder", "priority", "waits for"], queue, queue_more,
         "empty") }}
<h4>Apps by last result</h4>
<p>{% for result, number in counts %}{{ number }} {{ result }}{{ ", " if not loop.last }}
{%- else %}no app was built yet{% endfor %}</p>
{{ table("Failing apps", ["app", "last build", "ended"], failing, failing_more, "none") }}
<h4>All apps</h4>
<p>{% for app in apps %}<a href="#/{{ app.to }}">{{ app.text }}</a> {{ app.result }}
{{- ", " if not loop.last }}{% else %}none was built yet{% endfor %}</p>
{{ table("Apps to be checked", ["app", "since", "failed checks", "again"], due, due_more, "none") }}
{{ table("Dead repositories", ["repository", "apps", "since", "why"], dead, dead_more, "none") }}
<h4>Configuration</h4>
<p>{{ generated }}</p>
</div>
"""


class Dashboard:
    """A WSGI application, for buildbot-wsgi-dashboards, which sets `buildbot_api`."""

    buildbot_api: Any

    def __init__(self) -> None:
        self._page = Environment(autoescape=True).from_string(_PAGE)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        """Runs in a thread of its own."""
        master = self.buildbot_api.master
        found = threads.blockingCallFromThread(reactor, master.db.pool.do, _read, master.db.model)
        folder = output.folder(master)
        found |= (
            _sources(folder)
            | _due(folder)
            | {"generated": _generated(), "paused": pauses.told(master)}
        )
        body = self._page.render(found).encode()
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response("200 OK", headers)
        return [body]


def _read(conn: sa.Connection, model: Any) -> dict[str, Any]:
    """Each table once, whatever the number of apps."""
    now = int(time.time())
    running = [
        (
            _link(f"builders/{row.builderid}", row.page),
            _link(f"builders/{row.builderid}/builds/{row.number}", row.builder),
            row.worker,
            _age(now - row.started_at),
        )
        for row in conn.execute(_running(model))
    ]
    waiting = conn.execute(_waiting(model)).fetchall()
    queue = [
        (
            position,
            # As an app's page is named: Buildbot's own pollers attach no properties.
            _text(row.app) or row.project or "",
            _link(f"buildrequests/{row.id}", row.builder),
            row.priority,
            _age(now - row.submitted_at),
        )
        for position, row in enumerate(waiting[:_ROWS], 1)
    ]
    last = conn.execute(_last(model)).fetchall()
    failed = [row for row in last if row.results in (FAILURE, EXCEPTION)]
    failing = [
        (
            _link(f"builders/{row.builderid}", row.name),
            _link(f"builders/{row.builderid}/builds/{row.number}", Results[row.results]),
            _date(row.complete_at),
        )
        for row in failed[:_ROWS]
    ]
    apps = [
        {**_link(f"builders/{row.builderid}", row.name), "result": Results[row.results]}
        for row in sorted(last, key=lambda row: str(row.name).lower())
    ]
    counts = Counter(Results[row.results] for row in last)
    return {
        "running": running,
        "queue": queue,
        "queue_more": len(waiting) - len(queue),
        "counts": counts.most_common(),
        "apps": apps,
        "failing": failing,
        "failing_more": len(failed) - len(failing),
    }


def _running(model: Any) -> Any:
    builds, workers, requests = model.builds, model.workers, model.buildrequests
    page, builder = model.builders.alias("page"), model.builders.alias("builder")
    return (
        sa.select(
            builds.c.number,
            builds.c.builderid,
            builds.c.started_at,
            page.c.name.label("page"),
            builder.c.name.label("builder"),
            workers.c.name.label("worker"),
        )
        .select_from(
            builds.join(page, page.c.id == builds.c.builderid)
            .join(requests, requests.c.id == builds.c.buildrequestid)
            .join(builder, builder.c.id == requests.c.builderid)
            .join(workers, workers.c.id == builds.c.workerid)
        )
        .where(builds.c.complete_at.is_(None))
        .order_by(builds.c.started_at)
    )


def _waiting(model: Any) -> Any:
    """As Buildbot takes them: the highest priority, then the oldest."""
    requests, claims, properties = (
        model.buildrequests,
        model.buildrequest_claims,
        model.buildset_properties,
    )
    app = (properties.c.buildsetid == requests.c.buildsetid) & (
        properties.c.property_name == "packageName"
    )
    stamps, sets = model.sourcestamps, model.buildset_sourcestamps
    return (
        sa.select(
            requests.c.id,
            requests.c.priority,
            requests.c.submitted_at,
            model.builders.c.name.label("builder"),
            properties.c.property_value.label("app"),
            stamps.c.project,
        )
        .select_from(
            requests.join(model.builders, model.builders.c.id == requests.c.builderid)
            .outerjoin(claims, claims.c.brid == requests.c.id)
            .outerjoin(properties, app)
            # One for each request, as the one codebase of a master has it.
            .outerjoin(sets, sets.c.buildsetid == requests.c.buildsetid)
            .outerjoin(stamps, stamps.c.id == sets.c.sourcestampid)
        )
        .where(requests.c.complete == 0, claims.c.brid.is_(None))
        .order_by(requests.c.priority.desc(), requests.c.id)
    )


def _last(model: Any) -> Any:
    """The newest complete build of each app, newest first, but for those that the infrastructure
    failed.
    """
    builds, builders = model.builds, model.builders
    newest = (
        sa.select(sa.func.max(builds.c.id))
        .where(builds.c.complete_at.is_not(None), builds.c.id.not_in(blame.infrastructures(model)))
        .group_by(builds.c.builderid)
    )
    virtual = sa.select(model.builders_tags.c.builderid).where(
        model.builders_tags.c.tagid == model.tags.c.id, model.tags.c.name == "_virtual_"
    )
    return (
        sa.select(
            builders.c.name,
            builds.c.builderid,
            builds.c.number,
            builds.c.results,
            builds.c.complete_at,
        )
        .select_from(builds.join(builders, builders.c.id == builds.c.builderid))
        .where(builds.c.id.in_(newest), builds.c.builderid.in_(virtual))
        .order_by(builds.c.id.desc())
    )


def _link(to: str, text: str) -> dict[str, str]:
    return {"to": to, "text": text}


def _text(stored: str | None) -> str | None:
    """The value of a property as the database has it."""
    value = json.loads(stored)[0] if stored else None
    return None if value is None else str(value)[:_WIDTH]


def _age(seconds: int) -> str:
    days, rest = divmod(max(0, seconds), 24 * 60 * 60)
    hours, minutes = divmod(rest // 60, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest % 60} s"


def _date(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _document(path: Path) -> Any:
    """What a file of JSON says; None where there is none, or one that is broken."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_LARGEST))
    except (OSError, ValueError):
        return None


def _sources(folder: Path) -> dict[str, Any]:
    """How the sources of apps fare, by the list that the master writes each minute."""
    path = folder / LIST
    listed = _document(path)
    if listed is None:
        return {"sources": "nothing is known of them yet", "down": [], "dead": []}
    age = int(time.time() - path.stat().st_mtime)
    down, dead = listed["hosts_down"], [e for e in listed["failing"] if e["dead"]]
    alarm = True
    if age > _OLD:
        sources = f"the master has said nothing of them for {_age(age)}"
    elif listed["network_away"]:
        sources = f"no host answers: none of {listed['apps']} apps is watched"
    elif down:
        apps = sum(entry["apps"] for entry in down)
        sources = f"{apps} of {listed['apps']} apps are not watched: their hosts do not answer"
    else:
        sources, alarm = f"all hosts of {listed['apps']} apps answer", False
    return {
        "sources": sources,
        "sources_alarm": alarm,
        "down": [
            (
                entry["host"],
                entry["apps"],
                entry["since"],
                entry["asked_again"] + (", as it told us" if entry["told_us_to_wait"] else ""),
                entry["why"],
            )
            for entry in down[:_ROWS]
        ],
        "down_more": len(down) - _ROWS,
        "dead": [
            (entry["repository"], ", ".join(entry["apps"]), entry["since"], entry["why"])
            for entry in dead[:_ROWS]
        ],
        "dead_more": len(dead) - _ROWS,
    }


def _due(folder: Path) -> dict[str, Any]:
    """Who is checked until that succeeds; those first whose checks fail."""
    listed = [
        entry
        for path in sorted(folder.glob("status/due-*.json"))
        for entry in _document(path) or ()
    ]
    listed.sort(key=lambda entry: (-entry["failed"], entry["since"]))
    rows = [
        (entry["app"], entry["since"], entry["failed"], entry["again"] or "now")
        for entry in listed[:_ROWS]
    ]
    return {"due": rows, "due_more": len(listed) - _ROWS}


def _generated() -> str:
    path = _MASTERS / "provenance.json"
    found = _document(path)
    if found is None:
        return "not known when it was generated"
    commit = found.get("fdroiddata") or "files outside git"
    return f"generated {_date(path.stat().st_mtime)} from fdroiddata {commit}"


# One for all reconfigs, so that none replaces it.
dashboard = Dashboard()
