# SPDX-License-Identifier: GPL-2.0-or-later
"""A server that answers 503 once costs no build: real git, a real server, a real master."""

from __future__ import annotations

from pathlib import Path

from masters import Master, wait_for
from repositories import Server

CONFIG = """
from fdroid_bb.steps import patient_git
patient_git.PAUSES = (1, 1)
c["workers"].append(worker.LocalWorker("local"))
c["builders"].append(util.BuilderConfig(name="build", workernames=["local"],
    factory=util.BuildFactory([PatientGit(name="git", repourl=URL, branch="main",
        mode="incremental", alwaysUseLatest=True)])))
c["schedulers"].append(schedulers.ForceScheduler(name="build", builderNames=["build"]))
"""


def test_a_clone_and_a_fetch_that_fail_are_repeated(tmp_path: Path, server: Server) -> None:
    repository = server.repository("patient.git")
    config = CONFIG.replace("URL", repr(repository.url))
    with Master(tmp_path / "master", config) as master:
        for number in (1, 2):
            commit = repository.commit()
            server.busy["patient.git"] = 1
            assert master.force("build", "build").status == 200
            build = wait_for("the build", lambda: master.builds("build", number))[-1]  # noqa: B023
            step = master.steps(build)["git"]
            assert build["results"] == 0, step["text"]
            assert build["properties"]["got_revision"][0] == commit
            assert ["git clone failed", "git fetch failed"][number - 1] in step["text"]
            assert server.busy["patient.git"] == 0
        # One that goes on failing is told in the end.
        server.busy["patient.git"] = 1000
        assert master.force("build", "build").status == 200
        build = wait_for("the build", lambda: master.builds("build", 3))[-1]
        server.busy["patient.git"] = 0
        assert build["results"] == 2
        assert master.steps(build)["git"]["text"].count("git fetch failed, repeated in 1 s") == 2
