# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of workers that cannot be started, which Buildbot retries for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mails import Mails
from masters import Master, wait_for
from vagrants import Vagrants

RETRY, EXCEPTION = 5, 4

# With short pauses between attempts.
MORE = """
from buildbot.worker.latent import AbstractLatentWorker
AbstractLatentWorker.quarantine_timeout = AbstractLatentWorker.quarantine_initial_timeout = 1
c["services"] += [
    Live(__file__),
    FailureMail(
        name="mail", builders=["vm"], fromaddr="a@example.org", recipients=["b@example.org"],
        relayhost="127.0.0.1", smtpPort=MAIL_PORT
    ),
]
"""

DOCKER = """
c["workers"].append(worker.DockerLatentWorker(
    "container", None, docker_host="HOST", image="fdroid-bb/none:0", build_wait_timeout=0))
c["builders"].append(util.BuilderConfig(
    name="vm", workernames=["container"], factory=util.BuildFactory([steps.ShellCommand(
        command=["true"])])))
c["schedulers"].append(schedulers.ForceScheduler(name="force-vm", builderNames=["vm"]))
"""


@pytest.fixture
def mails() -> Iterator[Mails]:
    with Mails() as mails:
        threading.Thread(target=mails.serve_forever, daemon=True).start()
        yield mails
        mails.shutdown()


def metric(master: Master, name: str) -> float | None:
    """What the master exports."""
    path = master.output / "metrics/worker-starts.prom"
    lines = path.read_text().splitlines() if path.exists() else []
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)


def test_a_cause_is_told_after_three_attempts_and_when_it_is_over(
    tmp_path: Path, vagrant_docker: None, mails: Mails
) -> None:
    more = MORE.replace("MAIL_PORT", str(mails.server_address[1]))
    with Vagrants(tmp_path, provider="docker", more=more) as vagrants:
        master = vagrants.master
        # What differs from one attempt to the next is the same cause all the same.
        vagrants.fault("up", "echo The box could not be found, says process $$ >&2; exit 1")
        vagrants.ask()
        wait_for("a mail", lambda: mails.received)
        wait_for("the metric", lambda: metric(master, "fdroid_bb_workers_not_starting") == 1)
        assert "workers: vm-1: 3 attempts to start failed: vagrant up" in master.log()
        # No matter how often it is tried again, and by which run of the master.
        vagrants.finished(5)
        master.stop()
        master.start()
        vagrants.finished(len(vagrants.builds()) + 3)
        assert all(b["results"] == RETRY for b in vagrants.builds() if b["complete"])
        assert len(mails.received) == 1
        assert metric(master, "fdroid_bb_workers_not_starting") == 1
        count = len(vagrants.builds())
        vagrants.fault("up", None)
        vagrants.succeeded(count - 1)
        wait_for("another mail", lambda: len(mails.received) > 1)
        wait_for("the metric", lambda: metric(master, "fdroid_bb_workers_not_starting") == 0)
        vagrants.idle()
    first, second = mails.received
    assert first["Subject"] == "vm-1: cannot be started"
    assert "The box could not be found" in first.get_content()
    assert "3 attempts" in first.get_content()
    assert "Builds of vm wait" in first.get_content()
    assert first["To"] == "b@example.org"
    assert second["Subject"] == "vm-1: attempts to start no longer fail"
    assert "vm-1 has started" in second.get_content()


def test_a_start_that_is_cancelled_is_no_failure(
    tmp_path: Path, vagrant_docker: None, mails: Mails
) -> None:
    more = MORE.replace("MAIL_PORT", str(mails.server_address[1]))
    with Vagrants(tmp_path, provider="docker", more=more) as vagrants:
        vagrants.fault("up", "sleep 300")

        def starting(count: int) -> None:
            wait_for("vagrant up", lambda: len(vagrants.said()) == count)

        for number in (1, 2, 3, 4):
            vagrants.ask()
            starting(number)
            vagrants.cancel(vagrants.builds()[-1])
            assert vagrants.finished(number)["results"] == 6
        assert metric(vagrants.master, "fdroid_bb_worker_starts_failed_total") == 0
    assert not mails.received


@pytest.mark.parametrize("missing", ["engine", "image"])
def test_a_container_that_cannot_be_started_is_told_once(
    tmp_path: Path, docker_engine: None, mails: Mails, missing: str
) -> None:
    more = MORE.replace("MAIL_PORT", str(mails.server_address[1]))
    host = "/nonexistent/docker.sock" if missing == "engine" else "/var/run/docker.sock"
    config = DOCKER.replace("HOST", f"unix://{host}") + more
    with Master(tmp_path / "master", config) as master:
        name = "fdroid_bb_worker_starts_failed_total"

        def attempts(count: int) -> None:
            wait_for("attempts", lambda: (metric(master, name) or 0) >= count)

        for number in (1, 2, 3, 4):
            # Without an engine the first request is tried again and again; without an image each
            # request fails at once.
            if missing == "image" or number == 1:
                assert master.force("force-vm", "vm").status == 200
            attempts(number)
        wait_for("a mail", lambda: mails.received)
        attempts(5 if missing == "engine" else 4)
        assert metric(master, "fdroid_bb_workers_not_starting") == 1
    (mail,) = mails.received
    if missing == "engine":
        assert mail["Subject"] == "container: cannot be started"
    else:
        assert mail["Subject"] == "vm: exception in «worker_preparation»"
        assert "fdroid-bb/none:0" in mail.get_content()
