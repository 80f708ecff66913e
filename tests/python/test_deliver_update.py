# SPDX-License-Identifier: GPL-2.0-or-later
"""`fdroid-bb deliver-update` with real git servers: what it pushes, and what it never does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitlab import GitLab
from masters import PATIENCE
from program import PROGRAM
from repositories import Server
from shipped import PUSH, SCRIPT, Source, beside_masters, fdroiddata, site

APP = "org.example.tiny"
FILE = f"metadata/{APP}.yml"
BOT = "bot@example.org"
PAGE = "https://checkupdates.example.org/#/builders/7/builds/1"

BUILD = """
  - versionName: '1.{n}'
    versionCode: {n}
    commit: v1.{n}
    output: app.apk
    build: python3 build.py app.apk

AutoUpdateMode"""


class World:
    """fdroiddata, the bot's fork of it, and a checkout in which versions are found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(folder / "repositories", push=PUSH)
        app = Source(self.server, folder, "tiny")
        self.data = fdroiddata(self.server, folder / "fdroiddata", {app: SCRIPT})
        self.fork = GitLab(self.server, "fork.git", self.data)
        beside_masters(folder, site({}), self.data)
        self.bare = folder / "fdroid-bb/fdroiddata.git"
        self.checkout = folder / "checkout"
        self.run("clone", "-q", "--depth=1", self.data.url, str(self.checkout), cwd=folder)
        self.run("update-ref", "refs/checked", "HEAD")

    def run(self, *args: str, email: str = BOT, cwd: Path | None = None) -> str:
        """Run git in the checkout."""
        identity = ("-c", "user.name=bot", "-c", f"user.email={email}")
        done = subprocess.run(
            ["git", *identity, *args],
            cwd=cwd or self.checkout,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout

    def find(self, n: int, **changes: str) -> None:
        """Commit a version as checkupdates does, with changes of `old=new`."""
        path = self.checkout / FILE
        text = path.read_text()
        text = text.replace("\nAutoUpdateMode", BUILD.format(n=n))
        lines = text.splitlines(keepends=True)
        new = {"CurrentVersion:": f"'1.{n}'", "CurrentVersionCode:": str(n)}
        lines = [f"{k} {new[k]}\n" if (k := w.split(" ")[0]) in new else w for w in lines]
        text = "".join(lines)
        for old, other in changes.items():
            assert old in text
            text = text.replace(old, other)
        path.write_text(text)
        self.run("commit", "-qam", f"found\n\n/approve\n@all {n}")

    def deliver(self, exit_code: int = 0, *, fork: bool = True, app: str = APP) -> str:
        """Deliver what differs from the checked commit; what is said."""
        patch = self.folder / "patch"
        self.run("diff", "--full-index", f"--output={patch}", "refs/checked", "HEAD")
        return self.take(patch, exit_code, fork=fork, app=app)

    def take(self, patch: Path, exit_code: int = 0, *, fork: bool = True, app: str = APP) -> str:
        """Deliver a patch; what is said."""
        env = {
            **os.environ,
            "GIT_COMMITTER_NAME": "bot",
            "GIT_COMMITTER_EMAIL": BOT,
            "CI_JOB_URL": PAGE,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.http://127.0.0.1:{self.server.port}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: {PUSH}",
        }
        place = self.folder / "fdroid-bb"
        command = [PROGRAM, "deliver-update", app, str(patch)]
        command += [f"--config={place}/fdroid-bb.toml", f"--fdroiddata={self.bare}"]
        command += ["--fork", self.fork.url] if fork else []
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == exit_code, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    def branches(self) -> str:
        """All of the fork."""
        return self.fork.git("for-each-ref", "--format=%(refname) %(objectname)")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Fresh ones."""
    world = World(tmp_path)
    yield world
    world.server.close()


def test_a_version_becomes_one_merge_request_and_the_next_one_joins_it(world: World) -> None:
    before = world.data.git("rev-parse", "master")
    world.find(2)
    assert "Update tiny to 1.2 (2): a merge is asked for" in world.deliver()
    [merge] = world.fork.merge_requests
    assert merge["title"] == "bot: Update tiny to 1.2 (2)"
    assert merge["description"] == f"~{APP} checkupdates-bot run {PAGE}"
    assert merge["branch"] == APP
    assert merge["remove_source_branch"] is True
    assert "draft" not in merge
    assert not merge["orders"]
    assert not merge["mentions"]
    log = world.fork.git("log", "-1", "--format=%an %ae %cn %ce %B", APP)
    assert log == f"bot {BOT} bot {BOT} Update tiny to 1.2 (2)"
    assert world.fork.git("rev-parse", f"{APP}^") == before
    assert world.fork.git("diff", "--name-only", f"{APP}^", APP) == FILE

    # The same once more is left alone.
    assert "waits in the fork already" in world.deliver()
    assert world.fork.merge_requests[0]["pushes"] == 1

    # A fresh checkout of an fdroiddata that has moved on, in which what waits is picked first.
    other = world.data.put("master", "metadata/org.example.other.yml", "Name: other\n")
    world.run("fetch", "-q", "--depth=1", "origin", "master")
    world.run("reset", "-q", "--hard", "FETCH_HEAD")
    world.run("update-ref", "refs/checked", "HEAD")
    world.run("fetch", "-q", "--depth=2", world.fork.url, f"refs/heads/{APP}")
    world.run("cherry-pick", "-X", "ours", "FETCH_HEAD")
    world.find(3)
    assert "Update tiny to 1.3 (3)" in world.deliver()
    [merge] = world.fork.merge_requests
    assert merge["title"] == "bot: Update tiny to 1.3 (3)"
    assert merge["pushes"] == 2
    assert world.fork.git("rev-parse", f"{APP}^") == other
    text = world.fork.git("show", f"{APP}:{FILE}")
    assert [line for line in text.splitlines() if "versionCode:" in line] == [
        f"    versionCode: {n}" for n in (1, 2, 3)
    ]
    assert world.data.git("rev-parse", "master") == other


def test_only_a_current_version_is_a_draft(world: World) -> None:
    path = world.checkout / FILE
    text = path.read_text().replace("CurrentVersion: '1.0'", "CurrentVersion: '1.1'")
    path.write_text(text.replace("CurrentVersionCode: 1", "CurrentVersionCode: 2"))
    world.run("commit", "-qam", "found")
    world.deliver()
    [merge] = world.fork.merge_requests
    assert merge["title"] == "bot: Update CurrentVersion of tiny to 1.1 (2)"
    assert merge["draft"] is True


def test_a_branch_with_the_work_of_people_is_left_alone(world: World) -> None:
    world.find(2)
    world.deliver()
    world.run("fetch", "-q", world.fork.url, f"refs/heads/{APP}")
    world.run("checkout", "-q", "FETCH_HEAD")
    world.run("commit", "-q", "--amend", "--reset-author", "-m", "edited", email="me@example.org")
    commit = world.run("rev-parse", "HEAD").strip()
    world.run("push", "-q", "--force", str(world.fork.path), f"HEAD:refs/heads/{APP}")
    world.run("checkout", "-q", "refs/checked")
    world.find(3)
    assert "other people's commits" in world.deliver()
    assert world.fork.git("rev-parse", APP) == commit


def test_without_a_fork_fdroiddata_gets_the_commit(world: World) -> None:
    world.find(2)
    assert "pushed to fdroiddata" in world.deliver(fork=False)
    assert world.data.git("log", "-1", "--format=%B", "master") == "Update tiny to 1.2 (2)"
    assert "nothing new" in world.take(Path("/dev/null"), fork=False)
    # The same patch again no longer fits.
    assert "has changed since the check" in world.deliver(1, fork=False)


def test_names_of_apps_give_no_orders_and_mention_nobody(world: World) -> None:
    name = r"AutoName: '/merge @all \n/approve !1 #1 ~bug [skip ci]'"
    world.find(2, **{"AutoName: tiny": name})
    world.deliver()
    [merge] = world.fork.merge_requests
    assert merge["title"] == "bot: Update merge all n approve 1 1 bug skip ci to 1.2 (2)"
    assert not merge["orders"]
    assert not merge["mentions"]


def test_hostile_commits_push_nothing(world: World) -> None:
    before, data = world.branches(), world.data.git("rev-parse", "master")

    def other_file() -> None:
        (world.checkout / ".gitlab-ci.yml").write_text("evil: {script: [evil]}\n")

    def other_app() -> None:
        (world.checkout / "metadata/org.example.other.yml").write_text("Name: evil\n")

    def link() -> None:
        (world.checkout / FILE).unlink()
        (world.checkout / FILE).symlink_to("/etc/passwd")

    def mode() -> None:
        (world.checkout / FILE).chmod(0o755)

    def submodule() -> None:
        (world.checkout / FILE).unlink()
        world.run("rm", "-q", "--cached", FILE)
        world.run("update-index", "--add", "--cacheinfo", f"160000,{data},{FILE}")

    def gone() -> None:
        (world.checkout / FILE).unlink()

    def renamed() -> None:
        world.run("mv", FILE, "metadata/org.example.evil.yml")

    def huge() -> None:
        (world.checkout / FILE).write_text("a: b\n" * 2_000_000)

    def binary() -> None:
        (world.checkout / FILE).write_bytes(b"\0evil")

    def repo() -> None:
        path = world.checkout / FILE
        path.write_text(path.read_text().replace("Repo: http", "Repo: https"))

    for attack, why in {
        other_file: "is not of `metadata/org.example.tiny.yml`",
        other_app: "is not of `metadata/org.example.tiny.yml`",
        link: "more than the text",
        mode: "more than the text",
        submodule: "more than the text",
        gone: "more than the text",
        renamed: "is not of",
        huge: "at most",
        binary: "more than the text",
        repo: "changes `Repo`",
    }.items():
        world.run("checkout", "-q", "--force", "--detach", "refs/checked")
        attack()
        if attack is not submodule:
            world.run("add", "-A")
        world.run("commit", "-qm", "evil")
        said = world.deliver(1)
        assert "is refused" in said, (attack, said)
        assert why in said, (attack, said)
    world.run("checkout", "-q", "--force", "refs/checked")
    assert world.branches() == before
    assert world.data.git("rev-parse", "master") == data
    assert not world.fork.merge_requests
    assert "no application id" in world.take(Path("/dev/null"), 64, app="../evil")


def test_what_the_server_refuses_is_an_error(world: World) -> None:
    world.find(2)
    hook = world.fork.path / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'GitLab: no'; exit 1\n")
    assert "GitLab: no" in world.deliver(5)
    world.server.close()
    assert "was not delivered" in world.deliver(5)
