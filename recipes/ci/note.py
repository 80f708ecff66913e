#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Put a text on a merge request as one note of one's own, which later runs update.

    note.py FILE

In GitLab CI it uses CI_API_V4_URL, CI_PROJECT_ID, CI_MERGE_REQUEST_IID and the token in
FDROID_BB_TOKEN; in GitHub Actions GITHUB_API_URL, GITHUB_REPOSITORY, PULL_REQUEST and GITHUB_TOKEN.
It needs nothing but Python's own library.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# By this the note is found again. Readers do not see it.
MARK = "<!-- fdroid-bb diff -->"

# `github-actions[bot]`, whose number is the same everywhere on github.com.
ACTIONS = 41898282

# As many as both hand out at a time.
PAGE = 100

# GitHub takes 65,536 characters, GitLab a million.
LONGEST = 65_000


class Host:
    """The notes of one merge request."""

    def __init__(
        self, user: str, notes: str, note: str, update: str, headers: dict[str, str]
    ) -> None:
        self.user = user
        self.notes = notes
        self.note = note
        self.update = update
        self.headers = headers

    def ask(self, method: str, url: str, body: dict[str, str] | None = None) -> Any:
        """What the API answers."""
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json", **self.headers}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # by CI
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
            return json.loads(answer.read() or b"null")

    def all(self) -> Iterator[dict[str, Any]]:
        """Every note."""
        page = 1
        while found := self.ask("GET", f"{self.notes}?per_page={PAGE}&page={page}"):
            yield from found
            if len(found) < PAGE:
                return
            page += 1

    def myself(self) -> Any:
        """The user whose token it is."""
        try:
            return self.ask("GET", self.user)["id"]
        except urllib.error.HTTPError as e:
            # The token that GitHub makes for a job may not ask; it is this user's.
            if e.code == 403 and self.update == "PATCH":
                return ACTIONS
            raise

    def put(self, text: str) -> str:
        """Write the note, or write it anew; what was done."""
        myself = self.myself()
        for note in self.all():
            author = note.get("author") or note.get("user") or {}
            # Anybody can write the mark.
            if MARK in note["body"] and author.get("id") == myself:
                if note["body"] == text:
                    return "is up to date"
                self.ask(self.update, f"{self.note}/{note['id']}", {"body": text})
                return "updated"
        self.ask("POST", self.notes, {"body": text})
        return "written"


def host(env: dict[str, str]) -> Host:
    """Where the notes are. KeyError where a variable is missing."""
    if "GITHUB_REPOSITORY" in env:
        api = f"{env['GITHUB_API_URL']}/repos/{env['GITHUB_REPOSITORY']}/issues"
        headers = {"Authorization": f"Bearer {env['GITHUB_TOKEN']}"}
        user = f"{env['GITHUB_API_URL']}/user"
        notes = f"{api}/{env['PULL_REQUEST']}/comments"
        return Host(user, notes, f"{api}/comments", "PATCH", headers)
    api = f"{env['CI_API_V4_URL']}/projects/{env['CI_PROJECT_ID']}/merge_requests"
    notes = f"{api}/{env['CI_MERGE_REQUEST_IID']}/notes"
    headers = {"PRIVATE-TOKEN": env["FDROID_BB_TOKEN"]}
    return Host(f"{env['CI_API_V4_URL']}/user", notes, notes, "PUT", headers)


def main() -> int:
    """Put the note."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 64
    text = f"{MARK}\n{Path(sys.argv[1]).read_text()}"
    if len(text) > LONGEST:
        print(f"note: the text has more than {LONGEST} characters", file=sys.stderr)
        print("help: give `fdroid-bb diff` a `--limit`", file=sys.stderr)
        return 1
    try:
        print(f"note: {host(dict(os.environ)).put(text)}")
    except KeyError as e:
        print(f"note: {e} is not set: this runs in CI for merge requests", file=sys.stderr)
        return 1
    except urllib.error.HTTPError as e:
        # Its text may repeat what was sent; the token is in no URL.
        print(f"note: {e.code} {e.reason} from {e.url}", file=sys.stderr)
        print("help: see that the token may write notes", file=sys.stderr)
        return 1
    except (urllib.error.URLError, TimeoutError) as e:
        print(f"note: the API does not answer: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
