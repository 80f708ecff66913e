# SPDX-License-Identifier: GPL-2.0-or-later
"""What a master knows of versions of apps, for `fdroid-bb schedule`: queued, running, or how the
last build ended and what it was made with.

What Buildbot lacked: who submits a change is not told what became of an earlier one, so that the
same build is asked for twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from buildbot.process.results import CANCELLED, FAILURE, SKIPPED, SUCCESS, WARNINGS

# The property by which builds say what they were made with: the machine and its fdroidserver.
MACHINE = "machine"

# Seconds in which a change that was submitted has become a request.
_SETTLED = 60

# What one query may name.
_CHUNK = 500


async def known(master: Any, category: str, wanted: Collection[str]) -> list[str]:
    """One JSON list for each of `wanted`, `APPID:VERSIONCODE`, that is known.

    It has the name, and

    - `queued` or `running`, or
    - `built` or `failed`, the revision of fdroiddata it was built from if that is known, and
      whether builds are made with something else since it said what with.

    What failed for reasons of the infrastructure alone is not known.
    """
    builders = builders_of(master, category)
    now = int(master.reactor.seconds())
    rows = await master.db.pool.do(
        _read, master.db.model, builders, category, frozenset(wanted), now
    )
    return [json.dumps(row) for row in rows]


async def newest_requests(master: Any, category: str, wanted: Collection[str]) -> dict[str, Any]:
    """The newest request for each of `wanted`, with its `id`, `complete` and `results`."""
    builders = builders_of(master, category)

    def read(conn: sa.Connection) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for row in conn.execute(_requests(master.db.model, _ids(conn, master.db.model, builders))):
            key = f"{_value(row.app)}:{_value(row.code)}"
            if key in wanted and row.results != SKIPPED:
                found[key] = row
        return found

    result: dict[str, Any] = await master.db.pool.do(read)
    return result


def builders_of(master: Any, category: str) -> set[str]:
    """The builders that submitted changes of a category are for."""
    return {
        name
        for scheduler in master.allSchedulers()
        if _takes(scheduler, category)
        for name in scheduler.listBuilderNames()
    }


def _takes(scheduler: Any, category: str) -> bool:
    """Whether it waits for changes of the category."""
    found = getattr(scheduler, "change_filter", None)
    by_category = [f for f in getattr(found, "filters", ()) if f.prop == "category"]
    return bool(by_category) and all(f.is_matched(category) for f in by_category)


def _read(
    conn: sa.Connection,
    model: Any,
    builders: set[str],
    category: str,
    wanted: frozenset[str],
    now: int,
) -> list[list[Any]]:
    ids = _ids(conn, model, builders)
    states: dict[str, list[Any]] = {}
    ended: dict[str, Any] = {}
    asked: dict[str, int] = {}
    for row in conn.execute(_requests(model, ids)):
        key = f"{_value(row.app)}:{_value(row.code)}"
        if key not in wanted:
            continue
        asked[key] = row.submitted_at
        if not row.complete:
            states[key] = [key, "queued" if row.claimed is None else "running"]
        elif row.results != SKIPPED:
            ended[key] = row
    for row in conn.execute(_changes(model, category, now - _SETTLED)):
        key = f"{_value(row.app)}:{_value(row.code)}"
        if key in wanted and row.when_timestamp > asked.get(key, 0):
            states[key] = [key, "queued"]
    ended = {key: row for key, row in ended.items() if key not in states}
    made = _made(conn, model, [row.id for row in ended.values()])
    newest = _newest_machine(conn, model, ids)
    for key, row in ended.items():
        if row.results in (SUCCESS, WARNINGS, FAILURE, CANCELLED):
            how = "built" if row.results in (SUCCESS, WARNINGS) else "failed"
            given = made.get(row.id, {})
            revision = given.get("got_revision") or given.get("revision")
            # What failed before it had a machine, or was cancelled, is not to come back for that.
            other = given.get(MACHINE, newest) != newest and row.results != CANCELLED
            states[key] = [key, how, revision, other]
    return list(states.values())


def _ids(conn: sa.Connection, model: Any, builders: set[str]) -> list[int]:
    table = model.builders
    return list(conn.scalars(sa.select(table.c.id).where(table.c.name.in_(builders))))


def _requests(model: Any, builders: Iterable[int]) -> Any:
    """All requests for the builders, the oldest first."""
    requests, claims = model.buildrequests, model.buildrequest_claims
    app, code = (model.buildset_properties.alias(name) for name in ("app", "code"))
    return (
        sa.select(
            requests.c.id,
            requests.c.complete,
            requests.c.results,
            requests.c.submitted_at,
            claims.c.brid.label("claimed"),
            app.c.property_value.label("app"),
            code.c.property_value.label("code"),
        )
        .select_from(
            requests.join(app, app.c.buildsetid == requests.c.buildsetid)
            .join(code, code.c.buildsetid == requests.c.buildsetid)
            .outerjoin(claims, claims.c.brid == requests.c.id)
        )
        .where(
            requests.c.builderid.in_(builders),
            app.c.property_name == "packageName",
            code.c.property_name == "versionCode",
        )
        .order_by(requests.c.id)
    )


def _changes(model: Any, category: str, since: int) -> Any:
    """Those that came so lately that they may not be requests yet."""
    changes = model.changes
    app, code = (model.change_properties.alias(name) for name in ("app", "code"))
    return (
        sa.select(
            changes.c.when_timestamp,
            app.c.property_value.label("app"),
            code.c.property_value.label("code"),
        )
        .select_from(
            changes.join(app, app.c.changeid == changes.c.changeid).join(
                code, code.c.changeid == changes.c.changeid
            )
        )
        .where(
            changes.c.category == category,
            changes.c.when_timestamp >= since,
            app.c.property_name == "packageName",
            code.c.property_name == "versionCode",
        )
    )


def _made(conn: sa.Connection, model: Any, requests: list[int]) -> dict[int, dict[str, Any]]:
    """What the newest build of each request says of itself."""
    builds, properties = model.builds, model.build_properties
    made: dict[int, dict[str, Any]] = {}
    for start in range(0, len(requests), _CHUNK):
        query = (
            sa.select(builds.c.buildrequestid, properties.c.name, properties.c.value)
            .select_from(builds.join(properties, properties.c.buildid == builds.c.id))
            .where(
                builds.c.buildrequestid.in_(requests[start : start + _CHUNK]),
                properties.c.name.in_((MACHINE, "got_revision", "revision")),
            )
            .order_by(builds.c.id)
        )
        for row in conn.execute(query):
            made.setdefault(row.buildrequestid, {})[row.name] = json.loads(row.value)
    return made


def _newest_machine(conn: sa.Connection, model: Any, builders: Iterable[int]) -> Any:
    """What the newest build was made with that says so."""
    builds, requests, properties = model.builds, model.buildrequests, model.build_properties
    query = (
        sa.select(properties.c.value)
        .select_from(
            properties.join(builds, builds.c.id == properties.c.buildid).join(
                requests, requests.c.id == builds.c.buildrequestid
            )
        )
        .where(properties.c.name == MACHINE, requests.c.builderid.in_(builders))
        .order_by(builds.c.id.desc())
        .limit(1)
    )
    found = conn.scalar(query)
    return None if found is None else json.loads(found)


def _value(stored: str) -> str:
    """The value of a property as the database has it."""
    return str(json.loads(stored)[0])
