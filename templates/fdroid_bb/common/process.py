# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command without blocking the reactor, within limits of time and output.

What Buildbot lacked: its ``runprocess`` keeps all that a command prints, and kills the command
alone. Git and Vagrant start helpers that then live on, holding a connection open.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from buildbot.util import runprocess
from twisted.internet import defer, error
from twisted.internet.base import DelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

_TIE = Path(__file__).resolve().with_name("tie.py")

# Seconds between the polite signal and the one that cannot be refused.
KILL_AFTER = 5

# The third output, for a command that is told to use it.
REPORT = 3

# Bytes of the last output kept to explain a failure.
TAIL = 16384


class Reactor(Protocol):
    """The two things of Twisted's reactor that a command needs."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object
    ) -> DelayedCall:
        """Call later."""

    def spawnProcess(
        self,
        processProtocol: ProcessProtocol,
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str],
        path: str | None,
        *,
        childFDs: Mapping[int, str],
    ) -> object:
        """Start a process."""


class CommandFailed(Exception):
    """A command that could not be started, took too long, said too much or failed."""


def printable(text: str, limit: int = 300) -> str:
    """A stranger's text for one line of a log: nothing that could act, cut at `limit`."""
    text = "".join(c if c.isprintable() else "?" for c in text.strip())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def describe(error: BaseException | None) -> str:
    """An exception in one line."""
    return printable(str(error)) or type(error).__name__


class Command(ProcessProtocol):
    """A running command, in a process group of its own.

    `ended` fires once: with the exit status, or with CommandFailed when a limit was passed.
    Cancelling it stops the command.
    """

    transport: Any  # an IProcessTransport, which mypy cannot read without a plugin

    def __init__(
        self, reactor: Reactor, *, seconds: float | None, stdout: int, report: int, stdin: bytes
    ) -> None:
        self._reactor = reactor
        self._stdin = stdin
        self._stdout_limit = stdout
        self._report_limit = report
        self.problem: str | None = None
        self._kill_timer: DelayedCall | None = None
        self._tail = b""
        self.stdout = bytearray()
        self.report = bytearray()
        # Negative: the signal that ended it.
        self.status: int | None = None
        self.timed_out = False
        self.running = True
        self.ended: defer.Deferred[int] = defer.Deferred(lambda _: self.stop("cancelled"))
        self._timer = (
            reactor.callLater(seconds, self._time_out, f"no end after {seconds:g} seconds")
            if seconds
            else None
        )

    def tail(self) -> list[str]:
        """The last lines of both outputs, safe to log."""
        lines = self._tail.decode("utf-8", "replace").splitlines()
        return [line for line in map(printable, lines) if line]

    def stop(self, why: str) -> None:
        """End the command and what it started; `ended` then fails with `why`."""
        if not self.running or self.problem is not None:
            return
        self.problem = why
        self._signal(signal.SIGTERM)
        self._kill_timer = self._reactor.callLater(KILL_AFTER, self._kill)

    def _time_out(self, why: str) -> None:
        self.timed_out = True
        self.stop(why)

    def _kill(self) -> None:
        self._kill_timer = None
        self._signal(signal.SIGKILL)
        # Something that left the group could hold the pipes open for ever.
        self.transport.loseConnection()

    def _signal(self, number: signal.Signals) -> None:
        pid = self.transport.pid if self.transport is not None else None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid is not None:
                os.killpg(pid, number)
                return
        with contextlib.suppress(error.ProcessExitedAlready):
            self.transport.signalProcess(number.name.removeprefix("SIG"))

    def connectionMade(self) -> None:
        """Hand over the standard input, and forget it: it may hold a password."""
        if self._stdin:
            self.transport.write(self._stdin)
            self._stdin = b""
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Collect the third output too, up to its limit."""
        if childFD != REPORT:
            super().childDataReceived(childFD, data)
        elif len(self.report) + len(data) <= self._report_limit:
            self.report += data
        else:
            self.stop(f"more than {self._report_limit} bytes of report")

    def outReceived(self, data: bytes) -> None:
        """Collect standard output up to the limit; with a limit of 0 only the tail is kept."""
        if not self._stdout_limit:
            self.errReceived(data)
        elif len(self.stdout) + len(data) <= self._stdout_limit:
            self.stdout += data
        else:
            self.stop(f"more than {self._stdout_limit} bytes of output")

    def errReceived(self, data: bytes) -> None:
        """Keep the last of it."""
        self._tail = (self._tail + data)[-TAIL:]

    def processEnded(self, reason: Failure) -> None:
        """Tell whoever waits."""
        self.running = False
        value: Any = reason.value
        self.status = -value.signal if value.signal else value.exitCode
        for timer in (self._timer, self._kill_timer):
            if timer is not None and timer.active():
                timer.cancel()
        if self.ended.called:
            return
        if self.problem is not None:
            self.ended.errback(CommandFailed(self.problem))
            return
        self.ended.callback(self.status)


def start(
    reactor: Reactor,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    seconds: float | None,
    stdout: int = 0,
    report: int = 0,
    stdin: bytes = b"",
    memory: int | None = None,
) -> Command:
    """Start `argv`, found on the PATH of `env`, to run `seconds` at most (None: for ever).

    At most `stdout` bytes of standard output are taken, and `report` bytes of what it writes to the
    file descriptor REPORT, which it has if that is not 0; the command may use `memory` bytes, where
    `prlimit` exists. Raises CommandFailed when there is no such command.
    """
    path = env.get("PATH")
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise CommandFailed(f"`{argv[0]}` is not installed")
    full = [program, *argv[1:]]
    if memory is not None and (limit := shutil.which("prlimit", path=path)):
        full = [limit, f"--as={memory}", *full]
    full = _tied(full)
    command = Command(reactor, seconds=seconds, stdout=stdout, report=report, stdin=stdin)
    outputs = {0: "w", 1: "r", 2: "r", **({REPORT: "r"} if report else {})}
    reactor.spawnProcess(command, full[0], full, env, cwd, childFDs=outputs)
    return command


def _tied(command: Sequence[str]) -> list[str]:
    """The command, to end with a master that is killed: the next one would find it at work on what
    it has. `-I -S`: it needs no packages, and starts in 20 ms without them.
    """
    return [sys.executable, "-I", "-S", str(_TIE), str(os.getpid()), *command]


def _create_process(reactor: Any, command: Sequence[str], *args: Any, **kwargs: Any) -> Any:
    return runprocess.RunProcess(reactor, _tied(command), *args, **kwargs)


# So do those of Buildbot's own pollers, which it offers no way to have: this replaces the function.
runprocess.create_process = _create_process
