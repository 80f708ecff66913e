# SPDX-License-Identifier: GPL-2.0-or-later
"""AppGitPoller in a real master, against real repositories served over http."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Counted
from fdroid_bb import AppGitPoller
from masters import Master, free_port, wait_for
from repositories import Repository, Server

NAMES = ("every", "pattern", "lookahead", "default", "branch", "moved")

# What takes minutes takes seconds here.
HURRY = """
from fdroid_bb.polling import hosts, sources
hosts.FIRST_PAUSE = 1
hosts.LONGEST_PAUSE_AT_LEAST = 2
sources._HEARTBEAT = 1
"""


class World:
    """One master that polls a few repositories each second or so."""

    def __init__(self, folder: Path, server: Server, git: Counted) -> None:
        self.git = git
        self.server = server
        self.repos = {name: server.repository(f"{name}.git") for name in NAMES}
        self.repos["branch"].commit("stable")
        for repo in self.repos.values():
            repo.tag("v0")
        # Accepts, and never says a word.
        self.silent = socket.create_server(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{server.port}"
        self.pollers: dict[str, dict[str, Any]] = {
            "every": {"tags": "", "repourl": self.repos["every"].url},
            "pattern": {"tags": r"v\d+(\.\d+)?", "repourl": self.repos["pattern"].url},
            "lookahead": {"tags": r"v(?!9)", "repourl": self.repos["lookahead"].url},
            "default": {"repourl": self.repos["default"].url},
            "branch": {"branch": "stable", "repourl": self.repos["branch"].url},
            "moved": {"tags": "", "repourl": f"{base}/moved/moved.git"},
            "moved_away": {"tags": "", "repourl": f"{base}/moved-away/moved.git"},
            "dead": {"tags": "", "repourl": f"http://127.0.0.1:{free_port()}/x.git"},
            "silent": {
                "tags": "",
                "repourl": f"http://127.0.0.1:{self.silent.getsockname()[1]}/x.git",
                "timeout": 2,
            },
            "absent": {"tags": "", "repourl": f"{base}/absent.git"},
        }
        self.master = Master(folder / "master", self.config(), env=git.env())
        self.seen = 0

    def config(self) -> str:
        """The configuration as the pollers are now."""
        lines = [
            f"    AppGitPoller('app.{name}', pollInterval=1, allow_protocol='http', **{more!r}),"
            for name, more in self.pollers.items()
        ]
        return HURRY + 'c["change_source"] = [\n' + "\n".join(lines) + "\n]\n"

    def polls(self, name: str) -> int:
        """How many times git was started for an app."""
        return sum(self.pollers[name]["repourl"] in line for line in self.git.lines())

    def poll(self, *names: str) -> None:
        """Wait until each has begun and ended a poll after now: no poll overlaps the next."""
        enough = {name: self.polls(name) + 2 for name in names}
        wait_for("polls", lambda: all(self.polls(name) >= n for name, n in enough.items()), 20)

    def changes(self) -> list[dict[str, Any]]:
        """The Changes since the last call."""
        found = self.master.rest(f"changes?changeid__gt={self.seen}&order=changeid")["changes"]
        assert isinstance(found, list)
        self.seen = max([self.seen, *(change["changeid"] for change in found)])
        return found


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, server: Server, counted_git: Counted
) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("pollers"), server, counted_git)
    with world.master:
        world.poll(*NAMES)
        # The first poll only records, though each repository had a tag and commits.
        assert world.changes() == []
        yield world
    world.silent.close()


def one_change(world: World, name: str) -> dict[str, Any]:
    changes = world.changes()
    assert [change["project"] for change in changes] == [f"app.{name}"], changes
    return changes[0]


def repo(world: World, name: str) -> Repository:
    return world.repos[name]


def test_a_tag_makes_one_change_however_many_commits_are_behind_it(world: World) -> None:
    every = repo(world, "every")
    every.commit(count=50)
    commit = every.tag("v1.0", annotated=True)
    world.poll("every")
    change = one_change(world, "every")
    assert change["branch"] == "v1.0"
    # The commit, not the object of an annotated tag.
    assert change["revision"] == commit
    assert change["category"] == "app-source"
    assert change["repository"] == change["revlink"] == every.url
    assert change["properties"] == {"packageName": ["app.every", "Change"]}


def test_several_tags_make_one_change_that_names_the_newest(world: World) -> None:
    every = repo(world, "every")
    every.commit()
    with world.server.quiet:
        for name in ("v1.9", "v1.10", "v1.2"):
            every.tag(name)
    world.poll("every")
    change = one_change(world, "every")
    assert change["branch"] == "v1.10"
    assert "v1.9, v1.2" in change["comments"]


def test_a_moved_tag_is_news_and_a_deleted_one_is_not(world: World) -> None:
    every = repo(world, "every")
    commit = every.commit()
    every.tag("v1.2")
    world.poll("every")
    change = one_change(world, "every")
    assert (change["branch"], change["revision"]) == ("v1.2", commit)
    every.git("tag", "-d", "v1.2")
    world.poll("every")
    assert world.changes() == []


def test_a_pattern_is_anchored_at_the_start_only(world: World) -> None:
    pattern = repo(world, "pattern")
    pattern.commit()
    pattern.tag("nightly-v1")
    pattern.tag("release")
    world.poll("pattern")
    assert world.changes() == []
    pattern.tag("v2-beta")
    world.poll("pattern")
    assert one_change(world, "pattern")["branch"] == "v2-beta"


def test_a_pattern_that_no_linear_engine_has_lets_every_tag_count(world: World) -> None:
    repo(world, "lookahead").tag("v9")
    world.poll("lookahead")
    assert one_change(world, "lookahead")["branch"] == "v9"
    assert "its pattern is refused" in world.master.log()


def test_the_default_branch_is_followed_when_it_is_renamed(world: World) -> None:
    default = repo(world, "default")
    commit = default.commit()
    world.poll("default")
    change = one_change(world, "default")
    assert (change["branch"], change["revision"]) == ("main", commit)
    default.git("branch", "-m", "main", "trunk")
    default.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    world.poll("default")
    assert world.changes() == []
    commit = default.commit("trunk")
    default.commit("other")
    world.poll("default")
    change = one_change(world, "default")
    assert (change["branch"], change["revision"]) == ("trunk", commit)


def test_a_branch_is_watched_alone(world: World) -> None:
    branch = repo(world, "branch")
    branch.commit("main")
    branch.tag("v5")
    world.poll("branch")
    assert world.changes() == []
    commit = branch.commit("stable")
    world.poll("branch")
    change = one_change(world, "branch")
    assert (change["branch"], change["revision"]) == ("stable", commit)


def test_a_redirect_is_followed_within_its_host_only(world: World) -> None:
    repo(world, "moved").tag("v7")
    world.poll("moved", "moved_away")
    assert one_change(world, "moved")["branch"] == "v7"
    assert "(app.moved_away) failed: redirected to another host" in world.master.log()
    # Nor is that host asked: it may be one that only the master can reach.
    assert world.server.asked_away == []


def test_what_fails_is_one_line_and_stops_nobody(world: World) -> None:
    world.poll("dead", "absent", "silent")
    repo(world, "every").tag("v8")
    world.poll("every")
    assert one_change(world, "every")["branch"] == "v8"
    log = world.master.log()
    assert "(app.dead) failed: fatal: unable to access" in log
    assert "(app.absent) failed: fatal: repository" in log
    assert "(app.silent) failed: no end after 2 seconds" in log
    assert "Traceback" not in log
    assert "Unhandled" not in log


def test_a_poll_is_one_git_process_and_leaves_nothing_on_disk(world: World) -> None:
    lines = world.git.lines()
    assert lines
    assert all(" ls-remote " in line for line in lines)
    started = {name: world.polls(name) for name in NAMES}
    world.poll("every")
    # Each polls every second: none more often than another, whatever it found.
    for name in NAMES:
        assert world.polls(name) - started[name] <= world.polls("every") - started["every"] + 1
    assert not list(world.master.basedir.glob("gitpoller*"))


def test_a_reconfig_changes_one_poller_and_changes_it_back(world: World) -> None:
    original = world.pollers["pattern"]["tags"]
    repo(world, "pattern").tag("x1")
    world.poll("pattern")
    for tags, name in (("x", "x2"), (original, "v3")):
        world.pollers["pattern"]["tags"] = tags
        world.master.reconfig(world.config())
        world.poll("pattern")
        assert world.changes() == []  # x1 was there before anybody wanted it
        repo(world, "pattern").tag(name)
        world.poll("pattern")
        assert one_change(world, "pattern")["branch"] == name


def test_pollers_with_the_same_arguments_are_equal() -> None:
    def poller(**kwargs: Any) -> AppGitPoller:
        return AppGitPoller("a.b", "https://example.org/a.git", **kwargs)

    assert poller(tags="v") == poller(tags="v")
    assert poller(tags="v") != poller(tags="w")
    assert poller(tags="") != poller()
    assert poller(branch="a") != poller()
