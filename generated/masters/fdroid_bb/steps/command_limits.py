# SPDX-License-Identifier: GPL-2.0-or-later
"""End a command on a worker that prints more than the master's `logMaxSize`, in characters, or goes
on for longer than its `maxTime`, in seconds.

What Buildbot lacked: it takes `logMaxSize` into its configuration and never looks at it, and leaves
`maxTime` to the worker, where the code of strangers runs. What a worker sends waits in memory until
the database has it, so that one that prints without end takes all there is; one that never ends
keeps its machine for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.process.remotecommand import RemoteCommand
from twisted.python import log

# Seconds in which a command may end by itself once it was told to; and the worker, once it is time.
GRACE = 10
SPARE = 60

# What is still heard of a command that has said too much: how it ended.
_LAST = frozenset({"rc", "elapsed", "failure_reason"})

_run: Any = RemoteCommand.run
_remote_update: Any = RemoteCommand.remote_update


def _limited_run(command: Any, step: Any, conn: Any, builder_name: str) -> Any:
    """As Buildbot's, for its time and a little more."""
    ended = _run(command, step, conn, builder_name)
    seconds = command.args.get("maxTime")
    if not isinstance(seconds, (int, float)):
        return ended
    why = f"still running after {seconds:g} seconds, the limit that its worker was given"
    timer = step.master.reactor.callLater(seconds + SPARE, _end, command, why)

    def over(result: Any) -> Any:
        if timer.active():
            timer.cancel()
        return result

    return ended.addBoth(over)


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
            _end(command, f"more than {limit} characters of output: the rest is cut")
        received += length
        last = {key: value for key, value in update.items() if _name(key) in _LAST}
        kept.append((update if received <= limit else last, number))
    command.fdroid_bb_received = received
    return _remote_update(command, kept)


def _length(update: Mapping[Any, Any]) -> int:
    values: list[Any] = []
    for value in update.values():
        # `log` has a name beside the text.
        values += value if isinstance(value, (list, tuple)) else [value]
    return sum(len(value) for value in values if isinstance(value, (str, bytes)))


def _name(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _end(command: Any, why: str) -> None:
    if not command.active or command.conn is None:
        return
    log.msg(f"{command}: {why}")
    command.remoteUpdate("stderr", f"\n{why}; the command was ended\n", False)
    # Not by `interrupt`, after which the step would be cancelled, as if somebody had wanted that.
    told = command.conn.remoteInterruptCommand(command.builder_name, command.commandID, why)
    told.addErrback(lambda failure: log.msg(f"{command}: cannot be told to end: {failure.value}"))
    command.step.master.reactor.callLater(GRACE, _give_up, command)


def _give_up(command: Any) -> None:
    """A worker that is told to end a command need not do so; its build ends all the same."""
    if command.active:
        command.rc = 1
        command._finished()


# Buildbot offers no way to have it limited: this replaces the methods.
RemoteCommand.run = _limited_run  # type: ignore[assignment,method-assign]
RemoteCommand.remote_update = _limited_update  # type: ignore[assignment,method-assign]
