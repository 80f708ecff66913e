# SPDX-License-Identifier: GPL-2.0-or-later
r"""A fork on a stand-in for GitLab: it takes pushes, and opens merge requests by push options.

As GitLab does, it refuses forced pushes to the default branch, and options that it cannot obey:
then there is no merge request, and the push says why. A merge request of the same branch is
updated. `\n` in a description is a line break, and lines that begin with `/` are orders.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from repositories import Repository, Server

HOOK = r"""#!{python}
import json, os, pathlib, re, subprocess, sys
lines = [line.split() for line in sys.stdin]
count = int(os.environ.get("GIT_PUSH_OPTION_COUNT", 0))
options = [os.environ[f"GIT_PUSH_OPTION_{{n}}"] for n in range(count)]
if sys.argv[0].endswith("pre-receive"):
    if any(name == "refs/heads/main" for _, _, name in lines):
        sys.exit("GitLab: You are not allowed to force push code to a protected branch.")
    if count > 20:
        sys.exit("GitLab: too many push options")
    sys.exit()
given = {{}}
for option in options:
    found = re.fullmatch(r"merge_request\.(\w+)(?:=(.*))?", option, re.DOTALL)
    if found:
        given[found[1]] = found[2] if found[2] is not None else True
state = pathlib.Path("merge_requests.json")
requests = json.loads(state.read_text()) if state.exists() else []
for old, new, name in lines:
    branch = name.removeprefix("refs/heads/")
    known = [r for r in requests if r["branch"] == branch and r["state"] == "opened"]
    problems = []
    allowed = {{"create", "remove_source_branch", "squash", "title", "description", "draft"}}
    problems += [f"unknown option {{key}}" for key in given.keys() - allowed]
    if len(given.get("title", "")) > 255:
        problems.append("Title is too long (maximum is 255 characters)")
    if given and not known and "create" not in given:
        problems.append(f"A merge_request.create push option is required for branch {{branch}}")
    target = subprocess.run(["git", "ls-remote", {target!r}, "HEAD"], stdout=-1, text=True)
    if target.stdout.split()[:1] == [new]:
        problems.append("no commits between source and target branch")
    if problems or not given:
        print("WARNINGS: Error encountered with push options", *problems, sep="\n")
        continue
    request = known[0] if known else {{"branch": branch, "state": "opened", "pushes": 0}}
    if not known:
        requests.append(request)
    text = given.get("description", "").replace("\\n", "\n")
    request.update(given, description=text, commit=new, pushes=request["pushes"] + 1)
    request["orders"] = [line for line in text.splitlines() if line.startswith("/")]
    words = request["title"] + "\n" + text
    request["mentions"] = re.findall(r"(?<!\w)@\w[\w.-]*", words)
    print("View merge request for", branch)
state.write_text(json.dumps(requests))
"""


class GitLab(Repository):
    """A fork whose merge requests go to `upstream`. Its default branch is protected."""

    def __init__(self, server: Server, name: str, upstream: Repository) -> None:
        super().__init__(server.root / name, server.repository_url(name))
        self.git("config", "receive.advertisePushOptions", "true")
        text = HOOK.format(python=sys.executable, target=str(upstream.path))
        for hook in ("pre-receive", "post-receive"):
            path = self.path / "hooks" / hook
            path.write_text(text)
            path.chmod(0o755)

    @property
    def merge_requests(self) -> list[dict[str, Any]]:
        """All that were opened."""
        path = Path(self.path / "merge_requests.json")
        found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return found
