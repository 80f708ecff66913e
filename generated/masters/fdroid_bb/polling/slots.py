# SPDX-License-Identifier: GPL-2.0-or-later
"""How many polls there are at once, at one host and in all, and whose turn is next.

What Twisted lacked: `DeferredSemaphore.release()` runs the next waiter on the stack of the one
before it. When hundreds wait and each returns at once, the stack ends and slots are lost.
"""

from __future__ import annotations

from typing import Protocol

from twisted.python import log

# Polls at once at one host. The apps of the busiest are seconds apart, so few ever overlap.
AT_ONE_HOST = 2

# Polls at once, in this process: more would only queue on the network.
IN_ALL = 8


class Job(Protocol):
    """What takes a slot, as the queue needs to know it."""

    @property
    def queue(self) -> str:
        """The name of its host."""

    def begin(self) -> None:
        """Work. It gives its slot back with `end`, now or later."""


class Slots:
    """Takes jobs in the order they came, from each host in turn. One loop starts them all."""

    def __init__(self) -> None:
        # Hosts with waiting jobs; the one that has not been served for longest is first.
        self._waiting: dict[str, dict[Job, None]] = {}
        self._running: set[Job] = set()
        self._running_at: dict[str, int] = {}
        self._looping = False

    @property
    def in_use(self) -> int:
        """How many slots are taken."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return sum(len(jobs) for jobs in self._waiting.values())

    def holds(self, job: Job) -> bool:
        """Whether it waits or has a slot."""
        return job in self._running or job in self._waiting.get(job.queue, {})

    def waits_at(self, queue: str) -> bool:
        """Whether a job of this host waits."""
        return queue in self._waiting

    def enter(self, job: Job) -> None:
        """Begin it, now or as soon as there is a slot."""
        self._waiting.setdefault(job.queue, {})[job] = None
        self._begin_those_that_can()

    def withdraw(self, job: Job) -> None:
        """Let it wait no longer."""
        jobs = self._waiting.get(job.queue, {})
        jobs.pop(job, None)
        if not jobs:
            self._waiting.pop(job.queue, None)

    def withdraw_all(self, queue: str) -> list[Job]:
        """Let those of a host wait no longer; which they were."""
        return list(self._waiting.pop(queue, {}))

    def end(self, job: Job) -> None:
        """Give its slot back."""
        if job not in self._running:
            return
        self._running.remove(job)
        self._running_at[job.queue] -= 1
        if not self._running_at[job.queue]:
            del self._running_at[job.queue]
        self._begin_those_that_can()

    def _begin_those_that_can(self) -> None:
        if self._looping:
            # A job that ends before its `begin` returns: the loop below sees to the next.
            return
        self._looping = True
        try:
            while (job := self._next()) is not None:
                self._running.add(job)
                self._running_at[job.queue] = self._running_at.get(job.queue, 0) + 1
                try:
                    job.begin()
                except Exception:
                    log.err(None, "while beginning a poll")
                    self.end(job)
        finally:
            self._looping = False

    def _next(self) -> Job | None:
        if len(self._running) >= IN_ALL:
            return None
        free = (q for q in self._waiting if self._running_at.get(q, 0) < AT_ONE_HOST)
        queue = next(free, None)
        if queue is None:
            return None
        jobs = self._waiting.pop(queue)
        job = next(iter(jobs))
        del jobs[job]
        if jobs:
            self._waiting[queue] = jobs
        return job
