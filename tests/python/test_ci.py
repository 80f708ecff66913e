# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs in CI: the note on a merge request, and the request that follows fdroiddata.

The git servers are real. GitLab itself is none that a test can have: what stands for it keeps notes
as its API does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from applied import git
from masters import PATIENCE, ROOT
from program import PROGRAM

CI = ROOT / "recipes/ci"

TOKEN = "a token"

PAGE = 100


OURS, THEIRS, ACTIONS = 1, 2, 41898282


class Notes:
    """The notes of merge request 7 of project 3, and of pull request 7 of a/b."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = [
            {"id": number, "body": f"somebody's note {number}", "by": THEIRS}
            for number in range(150)
        ]
        # Anybody can write what marks ours.
        self.notes[7]["body"] += " <!-- fdroid-bb diff -->"
        self.myself: dict[str, int] | None = {"id": OURS}
        self.asked: list[str] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                url = urlsplit(self.path)
                outer.asked.append(self.command)
                allowed = TOKEN in (
                    self.headers.get("PRIVATE-TOKEN", ""),
                    self.headers.get("Authorization", "").removeprefix("Bearer "),
                )
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                status, answer = (401, None) if not allowed else outer.do(self.command, url, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = _answer

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def do(self, method: str, url: Any, body: dict[str, str]) -> tuple[int, Any]:
        """One call of the API."""
        notes = ("/projects/3/merge_requests/7/notes", "/repos/a/b/issues/7/comments")
        if method == "GET" and url.path == "/user":
            return (200, self.myself) if self.myself else (403, None)
        if method == "GET" and url.path in notes:
            page = int(parse_qs(url.query)["page"][0])
            # GitLab's name for who wrote it, and GitHub's.
            who = "author" if "projects" in url.path else "user"
            some = self.notes[(page - 1) * PAGE : page * PAGE]
            return 200, [
                {"id": note["id"], "body": note["body"], who: {"id": note["by"]}} for note in some
            ]
        if method == "POST" and url.path in notes:
            ours = self.myself["id"] if self.myself else ACTIONS
            self.notes.append({"id": len(self.notes), **body, "by": ours})
            return 201, self.notes[-1]
        one = re.fullmatch(
            r"(?:/projects/3/merge_requests/7/notes|/repos/a/b/issues/comments)/(\d+)", url.path
        )
        if one and method == ("PUT" if "projects" in url.path else "PATCH"):
            self.notes[int(one[1])].update(body)
            return 200, self.notes[int(one[1])]
        return 404, None

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    yield notes
    notes.close()


def environments(notes: Notes) -> dict[str, dict[str, str]]:
    """As the two kinds of CI have it."""
    return {
        "gitlab": {
            "CI_API_V4_URL": notes.url,
            "CI_PROJECT_ID": "3",
            "CI_MERGE_REQUEST_IID": "7",
            "FDROID_BB_TOKEN": TOKEN,
        },
        "github": {
            "GITHUB_API_URL": notes.url,
            "GITHUB_REPOSITORY": "a/b",
            "PULL_REQUEST": "7",
            "GITHUB_TOKEN": TOKEN,
        },
    }


def note(env: dict[str, str], *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, "-I", str(CI / "note.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE)


@pytest.mark.parametrize("kind", ["gitlab", "github", "a job's token"])
def test_the_difference_is_one_note_that_is_updated(
    notes: Notes, tmp_path: Path, kind: str
) -> None:
    if kind == "a job's token":
        kind, notes.myself = "github", None
    env = environments(notes)[kind]
    text = tmp_path / "diff.md"
    for words, said in (("+1", "written"), ("+1", "is up to date"), ("+2", "updated")):
        text.write_text(f"**{words}**\n")
        done = note(env, text)
        assert (done.returncode, done.stdout) == (0, f"note: {said}\n"), done.stderr
        assert len(notes.notes) == 151
        assert notes.notes[150]["body"].endswith(f"**{words}**\n")
    assert [call for call in notes.asked if call != "GET"] in (["POST", "PUT"], ["POST", "PATCH"])
    assert all("somebody's" in note["body"] for note in notes.notes[:150])


def test_what_goes_wrong_is_said_and_no_token_is_told(notes: Notes, tmp_path: Path) -> None:
    env = environments(notes)["gitlab"]
    text = tmp_path / "diff.md"
    text.write_text("x")
    for wrong, words in (
        ({"FDROID_BB_TOKEN": "another token"}, "401"),
        ({"CI_PROJECT_ID": "4"}, "404"),
        ({"CI_API_V4_URL": "http://127.0.0.1:9"}, "does not answer"),
    ):
        done = note({**env, **wrong}, text)
        assert done.returncode == 1
        assert words in done.stderr
        assert "token" not in done.stderr.replace("see that the token may", "")
        assert "Traceback" not in done.stderr
    assert note({}, text).returncode == 1
    assert note(env).returncode == 64
    text.write_text("x" * 70_000)
    assert "give `fdroid-bb diff` a `--limit`" in note(env, text).stderr
    assert len(notes.notes) == 150


class Repositories:
    """The repository of the configuration with its server, and fdroiddata."""

    def __init__(self, folder: Path, *, options: bool) -> None:
        self.server, self.clone, self.data = (folder / n for n in ("server.git", "clone", "data"))
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.server], check=True)
        git(self.server, "config", "receive.advertisePushOptions", str(options).lower())
        hook = self.server / "hooks/pre-receive"
        hook.write_text(f"#!/bin/sh\nenv | grep GIT_PUSH_OPTION_ >> {folder}/options || true\n")
        hook.chmod(0o755)
        self.options = folder / "options"
        subprocess.run(["git", "init", "-q", "-b", "master", self.data], check=True)
        (self.data / "metadata").mkdir()
        self.add("org.example.first")
        subprocess.run(["git", "clone", "-q", self.server, self.clone], check=True)
        text = (ROOT / "fdroid-bb.toml").read_text()
        (self.clone / "fdroid-bb.toml").write_text(text)
        self.fdroid_bb("generate")
        git(self.clone, "checkout", "-q", "-B", "main")
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "-q", "-m", "first")
        git(self.clone, "push", "-q", "origin", "main")

    def add(self, name: str) -> None:
        """An app more in fdroiddata."""
        repo = f"RepoType: git\nRepo: https://git.example.org/{name}.git\n"
        (self.data / f"metadata/{name}.yml").write_text(f"{repo}UpdateCheckMode: Tags\n")
        git(self.data, "add", "-A")
        git(self.data, "commit", "-q", "-m", name)

    def fdroid_bb(self, command: str) -> None:
        """Run the program in the clone."""
        arguments = [PROGRAM, command, "--fdroiddata", str(self.data), "--out", "."]
        subprocess.run(arguments, cwd=self.clone, check=True, capture_output=True)

    def regenerate(self) -> str:
        """What the script prints."""
        git(self.clone, "checkout", "-q", "-f", "main")
        names = {
            f"GIT_{who}_{what}": "a@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        path = f"{Path(PROGRAM).resolve().parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", str(CI / "regenerate.sh"), str(self.data), "follow"],
            cwd=self.clone,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, **names, "PATH": path},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("options", [True, False])
def test_what_follows_from_fdroiddata_is_one_request(tmp_path: Path, options: bool) -> None:
    repositories = Repositories(tmp_path, options=options)
    assert repositories.regenerate() == "changed=false"
    (repositories.data / "README.md").write_text("words\n")
    git(repositories.data, "add", "-A")
    git(repositories.data, "commit", "-q", "-m", "nothing for masters")
    assert repositories.regenerate() == "changed=false"
    for number, name in enumerate(("org.example.second", "org.example.third"), 1):
        repositories.add(name)
        assert repositories.regenerate() == "changed=true"
        subject = git(repositories.server, "log", "-1", "--format=%s", "follow")
        assert subject == f"Follow fdroiddata: +{number} ~0 −0, safe to reconfigure"
        assert name in git(repositories.server, "log", "-1", "--format=%b", "follow")
        changed = git(repositories.server, "diff", "--name-only", "main", "follow").split()
        assert "masters/checkupdates/pollers.py" in changed
        assert git(repositories.server, "rev-list", "--count", "main..follow") == "1"
    told = repositories.options.read_text() if repositories.options.exists() else ""
    assert ("merge_request.create" in told) == options
    assert ("merge_request.target=main" in told) == options


@pytest.mark.parametrize(
    ("file", "schema"), [("gitlab.yml", "gitlab-ci"), ("github.yml", "github-workflows")]
)
def test_pipelines_are_valid(file: str, schema: str) -> None:
    program = Path(sys.executable).parent / "check-jsonschema"
    command = [str(program), "--builtin-schema", f"vendor.{schema}", str(CI / file)]
    if schema == "gitlab-ci":
        command[1:1] = ["--data-transform", "gitlab-ci"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
