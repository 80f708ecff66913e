# SPDX-License-Identifier: GPL-2.0-or-later
"""`watch`, which follows fdroiddata, with a real master."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from applied import CONFIG, SUBMIT, Applied, git
from masters import PATIENCE, wait_for
from program import PROGRAM


class Watched:
    """`fdroid-bb watch` beside a master; commits are made in `applied.data`."""

    def __init__(self, applied: Applied) -> None:
        self.applied = applied
        git(applied.data, "init", "-q", "-b", "master")
        self.commit("first")
        self.bare = applied.folder / "mirror.git"
        clone = ["git", "clone", "-q", "--bare", str(applied.data), str(self.bare)]
        subprocess.run(clone, check=True, timeout=PATIENCE)
        self.log = applied.folder / "watch.log"
        self.metrics_file = applied.folder / "fdroid-bb.prom"
        arguments = applied.arguments("apply")
        arguments[0] = "watch"
        arguments[arguments.index("--fdroiddata") + 1] = str(self.bare)
        more = ["--interval", "1", "--quiet-time", "1", "--metrics", str(self.metrics_file)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([PROGRAM, *arguments, *more], stdout=log, stderr=log)

    def commit(self, message: str) -> str:
        """Commit all that differs; the first digits of its name."""
        git(self.applied.data, "add", "-A")
        git(self.applied.data, "commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self) -> str:
        """The first digits of the last commit."""
        return git(self.applied.data, "rev-parse", "HEAD")[:12]

    def said(self) -> str:
        """All so far."""
        return self.log.read_text()

    def live(self, commit: str) -> None:
        """Wait until a commit is live."""
        wait_for(f"{commit} to be live", lambda: f"at {commit}: live after" in self.said(), 60)

    def metrics(self) -> dict[str, Any]:
        """The metrics by their names and labels."""
        families = text_string_to_metric_families(self.metrics_file.read_text())
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    applied = Applied(tmp_path_factory.mktemp("watch"))
    watched = Watched(applied)
    yield watched
    watched.process.kill()
    watched.process.wait()
    applied.master.stop()


@pytest.fixture(scope="module", autouse=True)
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a second `watch` says, whose remote takes the call and then says nothing."""
    folder = tmp_path_factory.mktemp("silent")
    with socket.create_server(("127.0.0.1", 0)) as server:
        bare = folder / "mirror.git"
        git(folder, "init", "-q", "--bare", "-b", "master", str(bare))
        git(bare, "remote", "add", "origin", f"git://127.0.0.1:{server.getsockname()[1]}/x")
        config = folder / "fdroid-bb.toml"
        config.write_text(CONFIG.replace("WWW_PORT", "1").replace("PB_PORT", "2"))
        places = ["--fdroiddata", str(bare), "--out", str(folder), "--basedirs", str(folder)]
        command = [PROGRAM, "watch", "--config", str(config), *places]
        log = folder / "watch.log"
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        yield log
        process.kill()
        process.wait()


def test_a_commit_becomes_live_and_one_that_changes_nothing_does_nothing(watched: Watched) -> None:
    applied = watched.applied
    watched.live(watched.head())
    applied.add("org.example.pushed")
    watched.live(watched.commit("a new app"))
    assert "org.example.pushed" in applied.pollers()
    before = applied.updates()
    (applied.data / "README.md").write_text("nothing that a master needs to know\n")
    watched.live(watched.commit("words"))
    assert applied.updates() == before
    metrics = watched.metrics()
    assert metrics["fdroid_bb_apps active"] == 41
    assert metrics["fdroid_bb_pollers main"] == 41
    assert metrics["fdroid_bb_apps broken"] == 0
    assert metrics["fdroid_bb_last_run_exit_code"] == 0
    stamps = ("fdroid_bb_last_success_timestamp_seconds", "fdroid_bb_last_run_timestamp_seconds")
    assert metrics[stamps[0]] == metrics[stamps[1]] > 1.7e9


def test_a_burst_is_applied_once(watched: Watched) -> None:
    before = watched.applied.updates()
    for number in range(5):
        watched.applied.add(f"org.example.burst{number}")
        last = watched.commit(f"burst {number}")
    watched.live(last)
    after = watched.applied.updates()
    assert after - before <= 2
    assert {f"org.example.burst{n}" for n in range(5)} <= watched.applied.pollers()


def test_a_force_push_is_followed(watched: Watched) -> None:
    git(watched.applied.data, "reset", "-q", "--hard", "HEAD~2")
    watched.applied.add("org.example.forced")
    watched.live(watched.commit("another history"))
    pollers = watched.applied.pollers()
    assert "org.example.forced" in pollers
    assert "org.example.burst4" not in pollers


def test_a_broken_app_keeps_its_poller(watched: Watched) -> None:
    before = watched.applied.pollers()
    watched.applied.add("org.example.app3", "Repo: [\n")
    watched.live(watched.commit("broken"))
    assert "the metadata of `org.example.app3` is broken" in watched.said()
    assert watched.applied.pollers() == before
    assert watched.metrics()["fdroid_bb_apps broken"] == 1
    watched.applied.add("org.example.app3")
    watched.live(watched.commit("mended"))


def test_what_cannot_be_trusted_costs_one_app_its_poller_at_most(watched: Watched) -> None:
    applied = watched.applied
    before = applied.pollers()
    hostile = "UpdateCheckMode: Tags\nRepoType: git\nRepo: 'ext::sh -c touch% /tmp/x'\n"
    applied.add("org.example.app30", hostile)
    pattern = (
        "UpdateCheckMode: 'Tags ((a+)+$'\nRepoType: git\nRepo: https://git.example.org/x.git\n"
    )
    applied.add("org.example.app31", pattern)
    (applied.data / "metadata/org.example.app32.yml").unlink()
    watched.live(watched.commit("three strangers"))
    assert before - applied.pollers() == {"org.example.app30", "org.example.app32"}
    text = (applied.masters / "main/pollers.py").read_text()
    assert 'git("org.example.app31", "https://git.example.org/x.git", tags="")' in text
    assert "ext::" not in text
    for number in (30, 31, 32):
        applied.add(f"org.example.app{number}")
    watched.live(watched.commit("they went away"))
    assert applied.pollers() == before


def test_too_many_deletions_wait_for_a_person(watched: Watched) -> None:
    before = watched.applied.pollers()
    for number in range(20):
        (watched.applied.data / f"metadata/org.example.app{number}.yml").unlink()
    commit = watched.commit("who needs them")
    wait_for("the refusal", lambda: f"at {commit}: not applied (4)" in watched.said())
    assert watched.applied.pollers() == before
    assert watched.metrics()["fdroid_bb_last_run_exit_code"] == 4
    git(watched.applied.data, "reset", "-q", "--hard", "HEAD~1")
    watched.applied.add("org.example.after")
    watched.live(watched.commit("on it goes"))


def test_a_remote_that_is_gone_comes_back(watched: Watched) -> None:
    fetched = "fdroid_bb_last_fetch_success_timestamp_seconds"
    away = watched.applied.data.rename(watched.applied.folder / "away")
    wait_for("the warning", lambda: "fdroiddata cannot be fetched" in watched.said())
    before = watched.metrics()[fetched]
    assert before > 1.7e9
    away.rename(watched.applied.data)
    wait_for("its end", lambda: "fdroiddata is fetched again" in watched.said())
    assert watched.said().count("fdroiddata cannot be fetched") == 1
    wait_for("a later fetch", lambda: watched.metrics()[fetched] > before)
    watched.applied.add("org.example.back")
    watched.live(watched.commit("back"))


def test_a_branch_that_is_gone_is_told_once_until_it_is_back(watched: Watched) -> None:
    git(watched.bare, "symbolic-ref", "HEAD", "refs/heads/elsewhere")
    head = git(watched.bare, "rev-parse", "master")
    away = watched.applied.data.rename(watched.applied.folder / "away")
    git(watched.bare, "update-ref", "-d", "refs/heads/master")
    again = "fdroiddata and its description can be read again"
    wait_for("the reason", lambda: "`master`" in watched.said().partition("following")[2][10:])
    git(watched.bare, "update-ref", "refs/heads/master", head)
    wait_for("its end", lambda: again in watched.said())
    away.rename(watched.applied.data)


def test_a_master_that_is_down_gets_it_when_it_is_back(watched: Watched) -> None:
    watched.applied.master.stop()
    watched.applied.add("org.example.late")
    commit = watched.commit("nobody listens")
    wait_for("the refusal", lambda: f"at {commit}: not applied (5)" in watched.said())
    watched.applied.master.start()
    watched.live(commit)
    assert "org.example.late" in watched.applied.pollers()


def test_a_port_that_cannot_be_opened_is_rolled_back(watched: Watched) -> None:
    config, before = watched.applied.config, watched.applied.files()
    healthy, mark = config.read_text(), len(watched.said())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        more = SUBMIT.replace("PORT", str(taken.getsockname()[1]))
        config.write_text(healthy + more.replace("FOLDER", str(watched.applied.folder / "submit")))
        wait_for("the refusal", lambda: "not applied (5)" in watched.said()[mark:])
    said = watched.said()[mark:]
    assert "the master `main` runs the configuration, but parts of it do not work" in said
    assert "Address already in use" in said
    assert "the old configuration is back, and runs" in said
    assert watched.applied.files() == before
    config.write_text(healthy)
    watched.applied.add("org.example.healthy")
    watched.live(watched.commit("all is well"))


def test_a_remote_that_says_nothing_is_given_up(silent: Path) -> None:
    wanted = "fdroiddata cannot be fetched: it has not ended within 120 s"
    wait_for("the end of patience", lambda: wanted in silent.read_text(), 150)


def test_it_ends_when_it_is_told_to(watched: Watched) -> None:
    watched.process.send_signal(signal.SIGHUP)
    watched.process.send_signal(signal.SIGTERM)
    assert watched.process.wait(10) == 0
