# SPDX-License-Identifier: GPL-2.0-or-later
"""End a command on a worker that prints more than the master's `logMaxSize`, in characters.

What Buildbot lacked: it takes `logMaxSize` into its configuration and never looks at it. What a
worker sends waits in memory until the database has it, so that one that prints without end takes
all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.process.remotecommand import RemoteCommand
from twisted.python import log

# Seconds in which a command may end by itself once it was told to.
_GRACE = 10

# What is still heard of a command that has said too much: how it ended.
_LAST = frozenset({"rc", "elapsed", "failure_reason"})

_remote_update: Any = RemoteCommand.remote_update


def _length(update: Mapping[Any, Any]) -> int:
    # `log` has a name beside the text.
    return sum(len(v) for v in update.values() if isinstance(v, (str, bytes))) + sum(
        len(part)
        for v in update.values()
        if isinstance(v, (list, tuple))
        for part in v
        if isinstance(part, (str, bytes))
    )


def _name(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _limited_update(command: Any, updates: list[tuple[dict[Any, Any], int]]) -> Any:
    """As Buildbot's, up to the limit."""
    limit = getattr(command.step.master.config, "logMaxSize", None) if command.step else None
    if limit is None:
        return _remote_update(command, updates)
    received = getattr(command, "fdroid_bb_received", 0)
    kept: list[tuple[dict[Any, Any], int]] = []
    for update, number in updates:
        length = _length(update)
        if received <= limit < received + length:
            _end(command, limit)
        received += length
        last = {key: value for key, value in update.items() if _name(key) in _LAST}
        kept.append((update if received <= limit else last, number))
    command.fdroid_bb_received = received
    return _remote_update(command, kept)


def _end(command: Any, limit: int) -> None:
    why = f"more than {limit} characters of output: the rest is cut, and the command ended"
    log.msg(f"{command}: {why}")
    command.remoteUpdate("stderr", f"\n{why}\n", False)
    # Not by `interrupt`, after which the step would be cancelled, as if somebody had wanted that.
    told = command.conn.remoteInterruptCommand(command.builder_name, command.commandID, why)
    told.addErrback(lambda failure: log.msg(f"{command}: cannot be told to end: {failure.value}"))
    command.step.master.reactor.callLater(_GRACE, _give_up, command)


def _give_up(command: Any) -> None:
    """A worker that is told to end a command need not do so; its build ends all the same."""
    if command.active:
        command.rc = 1
        command._finished()


# Buildbot offers no way to have it limited: this replaces the method.
RemoteCommand.remote_update = _limited_update  # type: ignore[assignment,method-assign]
