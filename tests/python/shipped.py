# SPDX-License-Identifier: GPL-2.0-or-later
"""What F-Droid's own description is run with: small apps, and their metadata in git."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

from masters import PATIENCE, ROOT
from repositories import Repository, Server

# What a server of `Server(push=PUSH)` takes pushes for.
PUSH = "Basic cHVzaA=="

METADATA = """\
Categories:
  - System
License: GPL-2.0-or-later
SourceCode: https://example.org/NAME

AutoName: NAME

RepoType: git
Repo: URL

Builds:
  - versionName: '1.0'
    versionCode: 1
    commit: v1.0
    BUILD

AutoUpdateMode: Version
UpdateCheckMode: Tags
CurrentVersion: '1.0'
CurrentVersionCode: 1
"""


# How an app is built, in its metadata.
SCRIPT = "output: app.apk\n    build: python3 build.py app.apk"
GRADLE = "gradle: [yes]"


def edited(text: str, changes: dict[str, str]) -> str:
    """The text with each of the changes, which must all have an effect."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


# When the apps' commits were made.
WHEN = "2019-12-31T12:00:00Z"


class Source:
    """The repository of an app, and a checkout to release from.

    The app is one of the folders of tests/: `tiny_app` has no code and is made by a script,
    `gradle_app` is built by gradle.
    """

    def __init__(self, server: Server, folder: Path, name: str, app: str = "tiny_app") -> None:
        self.package = f"org.example.{name}"
        self.repository = server.repository(f"{name}.git")
        self.folder = folder / name
        shutil.copytree(ROOT / "tests" / app, self.folder)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", str(self.repository.path))

    def git(self, *args: str) -> None:
        """Run git in the checkout."""
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(self.folder), *identity, *args]
        env = {**os.environ, "GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN}
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, env=env)

    def checkout(self, tag: str) -> None:
        """Have the files of a version in the checkout."""
        self.git("checkout", "-q", tag)

    def release(self, code: int, name: str) -> None:
        """Push a version and its tag."""
        for file, edits in {
            "AndroidManifest.xml": {
                r'versionCode="\d+"': f'versionCode="{code}"',
                r'versionName="[^"]+"': f'versionName="{name}"',
                r'package="[^"]+"': f'package="{self.package}"',
            },
            "build.gradle": {
                r"versionCode \d+": f"versionCode {code}",
                r"versionName '[^']+'": f"versionName '{name}'",
                r"applicationId '[^']+'": f"applicationId '{self.package}'",
            },
        }.items():
            path = self.folder / file
            text = path.read_text() if path.exists() else ""
            for old, new in edits.items():
                text = re.sub(old, new, text)
            if text:
                path.write_text(text)
        self.git("add", ".")
        self.git("commit", "-qm", f"version {name}")
        self.git("tag", f"v{name}")
        self.git("push", "-q", "--force", "--tags", "origin", "main")


def site(lines: Mapping[str, object], build: str = "whole", updates: str = "push") -> str:
    """A site's own file on top of F-Droid's pipelines: what it chooses, and other keys."""
    chosen = {"choices.build.chosen": build, "choices.updates.chosen": updates}
    every = {"base": "f-droid", **chosen, **lines}
    return "".join(f"{key} = {toml(value)}\n" for key, value in every.items())


def toml(value: object) -> str:
    """A value as TOML writes it."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            # Texts, numbers and truth are written alike.
            return json.dumps(value)


def fdroiddata(server: Server, checkout: Path, builds: Mapping[Source, str]) -> Repository:
    """The metadata of apps at version 1, each with how it is built, in `checkout` and served."""
    repository = server.repository("fdroiddata.git")
    repository.git("symbolic-ref", "HEAD", "refs/heads/master")
    repository.git("update-ref", "-d", "refs/heads/main")
    (checkout / "metadata").mkdir(parents=True)
    for source, build in builds.items():
        name = source.package.rsplit(".", 1)[1]
        changes = {"NAME": name, "URL": source.repository.url, "BUILD": build}
        path = checkout / f"metadata/{source.package}.yml"
        path.write_text(edited(METADATA, changes))
    for command in (
        ("init", "-q", "-b", "master"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "apps"),
        ("push", "-q", str(repository.path), "master"),
    ):
        subprocess.run(["git", "-C", str(checkout), *command], check=True, capture_output=True)
    return repository


def beside_masters(folder: Path, config: str, data: Repository) -> None:
    """Put the description and a clone of fdroiddata where steps on the master look for them."""
    place = folder / "fdroid-bb"
    place.mkdir()
    (place / "fdroid-bb.toml").write_text(config)
    clone = ["git", "clone", "-q", "--bare", data.url, str(place / "fdroiddata.git")]
    subprocess.run(clone, check=True, timeout=PATIENCE)


def polled(state: Path, name: str) -> str:
    """What a master remembers of a poller."""
    with sqlite3.connect(state) as database:
        query = """
            SELECT group_concat(s.name) FROM object_state s JOIN objects o ON o.id = s.objectid
            WHERE o.name = ?"""
        return str(database.execute(query, (name,)).fetchone()[0])
