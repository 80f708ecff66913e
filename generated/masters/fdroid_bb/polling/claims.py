# SPDX-License-Identifier: GPL-2.0-or-later
"""Claim many change sources for a master at once.

What Buildbot lacked: every change source claims itself in the database, so that of several
masters one polls it, and each waits for the one before: two or three transactions for each of
4,000 apps are most of a start. Here all that ask in one turn of the reactor share one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from buildbot.data.changesources import ChangeSource
from buildbot.util.sautils import hash_columns
from twisted.internet import defer

K = TypeVar("K")
V = TypeVar("V")

# Values in one `IN (…)`: some databases take 999.
_CHUNK = 500

# Times to try again when another master claims at the same moment.
_TRIES = 5


class Claims:
    """The claims of one master, collected."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._claims: dict[str, list[defer.Deferred[tuple[int, bool]]]] = {}
        self._releases: dict[int, list[defer.Deferred[bool]]] = {}
        self._scheduled = False

    def claim(self, name: str) -> defer.Deferred[tuple[int, bool]]:
        """The id of a change source, and whether this master has it from now on."""
        return self._ask(self._claims, name)

    def release(self, changesourceid: int) -> defer.Deferred[bool]:
        """Let another master have it."""
        return self._ask(self._releases, changesourceid)

    def _ask(self, waiting: dict[K, list[defer.Deferred[V]]], key: K) -> defer.Deferred[V]:
        answer: defer.Deferred[V] = defer.Deferred()
        waiting.setdefault(key, []).append(answer)
        if not self._scheduled:
            self._scheduled = True
            self._master.reactor.callLater(0, self._flush)
        return answer

    def _flush(self) -> None:
        self._scheduled = False
        claims, self._claims = self._claims, {}
        releases, self._releases = self._releases, {}
        if releases:
            self._run(_release, releases, ())
        if claims:
            self._run(_claim, claims, (self._master.masterid,))

    def _run(
        self,
        work: Callable[..., dict[Any, Any]],
        waiting: dict[Any, list[defer.Deferred[Any]]],
        args: tuple[object, ...],
    ) -> None:
        done = self._master.db.pool.do(work, self._master.db.model, list(waiting), *args)
        answers = [(key, answer) for key, those in waiting.items() for answer in those]

        def tell(results: dict[Any, Any]) -> None:
            for key, answer in answers:
                answer.callback(results[key])

        def fail(failure: Any) -> None:
            for _, answer in answers:
                answer.errback(failure)

        done.addCallbacks(tell, fail)


def _release_all_of_master(resource: ChangeSource, masterid: int) -> defer.Deferred[Any]:
    def thd(conn: sa.Connection) -> None:
        table = resource.master.db.model.changesource_masters
        conn.execute(table.delete().where(table.c.masterid == masterid))
        conn.commit()

    pool: Any = resource.master.db.pool
    done: defer.Deferred[Any] = pool.do(thd)
    return done


# What a master had when it stopped or died is given up by itself at its next start, or by
# another. Buildbot does so claim by claim, half a minute for 4,000, and offers no way to have it
# done otherwise: this replaces the method.
ChangeSource._masterDeactivated = (  # type: ignore[method-assign]  # no hook is offered
    _release_all_of_master  # type: ignore[assignment]  # a function, bound when it is called
)


_of_master: WeakKeyDictionary[Any, Claims] = WeakKeyDictionary()


def of(master: Any) -> Claims:
    """The claims of a master."""
    return _of_master.setdefault(master, Claims(master))


def _claim(
    conn: sa.Connection, model: Any, names: list[str], masterid: int
) -> dict[str, tuple[int, bool]]:
    for attempt in itertools.count(1):
        try:
            ids = _ids(conn, model, names)
            table = model.changesource_masters
            taken = {
                row.changesourceid for row in _select(conn, table.c.changesourceid, ids.values())
            }
            free = [
                {"changesourceid": number, "masterid": masterid}
                for number in ids.values()
                if number not in taken
            ]
            if free:
                conn.execute(table.insert(), free)
            conn.commit()
        except sa.exc.IntegrityError:
            conn.rollback()
            if attempt == _TRIES:
                raise
        else:
            return {name: (number, number not in taken) for name, number in ids.items()}
    raise AssertionError  # the loop has no other end


def _ids(conn: sa.Connection, model: Any, names: list[str]) -> dict[str, int]:
    """The ids of change sources, made where there are none."""
    table = model.changesources
    hashes = {hash_columns(name): name for name in names}

    def known() -> dict[str, int]:
        rows = _select(conn, table.c.name_hash, hashes, table.c.id)
        return {hashes[row.name_hash]: row.id for row in rows}

    ids = known()
    new = [{"name": n, "name_hash": h} for h, n in hashes.items() if n not in ids]
    if new:
        conn.execute(table.insert(), new)
        ids = known()
    return ids


def _release(conn: sa.Connection, model: Any, ids: list[int]) -> dict[int, bool]:
    column = model.changesource_masters.c.changesourceid
    for chunk in _chunks(ids):
        conn.execute(model.changesource_masters.delete().where(column.in_(chunk)))
    conn.commit()
    return dict.fromkeys(ids, True)


def _select(
    conn: sa.Connection, column: Any, values: Iterable[Any], *others: Any
) -> Iterator[sa.Row[Any]]:
    for chunk in _chunks(values):
        yield from conn.execute(sa.select(column, *others).where(column.in_(chunk))).fetchall()


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while chunk := list(itertools.islice(rest, _CHUNK)):
        yield chunk
