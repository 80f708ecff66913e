# SPDX-License-Identifier: GPL-2.0-or-later
"""Some metadata, a description, what is generated from them, and a master that runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from masters import PATIENCE, Master, free_ports, wait_for
from program import PROGRAM, fdroid_bb

# Where fdroiddata is.
FDROIDDATA = "https://gitlab.com/fdroid/fdroiddata.git"

CONFIG = """
[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "Apply"
url = "http://127.0.0.1:WWW_PORT/"
worker-listen = "127.0.0.1:PB_PORT"

[masters.main.web]
listen = "127.0.0.1:WWW_PORT"

[workers.host]
master = "main"
count = 2
local = {}

[builders.check]
workers = ["host"]
properties.packageName = { type = "app-id" }

[[builders.check.steps]]
name = "look"
run = ["sleep", "1"]

[schedulers.sources]
on = "app-source"
builders = ["check"]

[schedulers.force]
on = "force"
builders = ["check"]
"""

# What else a description may have; `password-file` is in `FOLDER`.
SUBMIT = """
[masters.main.submit]
listen = "127.0.0.1:PORT"
user = "fdroid"
password-file = "FOLDER/passwd"

[schedulers.submitted]
on = { submitted = "build" }
builders = ["check"]
"""

APP = """\
AutoUpdateMode: Version
UpdateCheckMode: Tags
RepoType: git
Repo: https://git.example.org/NAME.git
"""

# Stands before the real one: does what is laid down for a command, then is the real one.
BUILDBOT = """\
#!/bin/sh
fault={folder}/fault-$1
if [ -e "$fault" ]; then . "$fault"; fi
exec {real} "$@"
"""


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    author = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    committer = {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
        env={**os.environ, **author, **committer},
    )
    return done.stdout.strip()


class Applied:
    """fdroiddata, a description, what is generated from them, and a master that runs it."""

    def __init__(self, folder: Path, more: str = "", url: str = FDROIDDATA) -> None:
        """With `more` in the description; where masters look for fdroiddata is `url`."""
        self.folder = folder
        self.data = folder / "fdroiddata"
        (self.data / "metadata").mkdir(parents=True)
        for number in range(40):
            self.add(f"org.example.app{number}")
        www, pb = free_ports(2)
        self.out = folder / "bases/fdroid-bb"
        self.out.mkdir(parents=True)
        self.config = self.out / "fdroid-bb.toml"
        text = (CONFIG + more).replace("WWW_PORT", str(www)).replace("PB_PORT", str(pb))
        self.config.write_text(text.replace(FDROIDDATA, url))
        self.masters = self.out / "masters"
        self.buildbot = folder / "buildbot"
        real = Path(sys.executable).parent / "buildbot"
        self.buildbot.write_text(BUILDBOT.format(folder=folder, real=real))
        self.buildbot.chmod(0o755)
        self.run("generate")
        configfile = self.masters / "main/master.cfg"
        # As on a machine where both programs are installed.
        programs = folder / "programs"
        programs.mkdir()
        (programs / "fdroid-bb").symlink_to(Path(PROGRAM).resolve())
        path = f"{programs}:{real.parent}:{os.environ['PATH']}"
        self.master = Master(
            folder / "bases/main", configfile=configfile, www_port=www, env={"PATH": path}
        )
        self.master.start()

    def add(self, name: str, text: str = APP) -> None:
        """Write the metadata of an app."""
        (self.data / f"metadata/{name}.yml").write_text(text.replace("NAME", name))

    def remove(self, name: str) -> None:
        """Delete the metadata of an app."""
        (self.data / f"metadata/{name}.yml").unlink()

    def set_views(self, views: str) -> None:
        """Describe other web pages, which a master reads when it starts."""
        text = re.sub(r"^views = .*\n", "", self.config.read_text(), flags=re.MULTILINE)
        head = "[masters.main.web]\n"
        self.config.write_text(text.replace(head, f"{head}views = {views}\n"))

    def arguments(self, command: str, *more: str | Path) -> list[str]:
        """A command line."""
        inputs = ["--config", self.config, "--fdroiddata", self.data, "--out", self.out]
        masters = ["--basedirs", self.folder / "bases", "--buildbot", self.buildbot]
        wanted = [*inputs, *(masters if command in ("apply", "rollback") else [])]
        return [command, *map(str, [*wanted, *more])]

    def run(self, command: str, *more: str | Path, exit_code: int = 0) -> str:
        """What a command says, on both streams."""
        return fdroid_bb(*self.arguments(command, *more), exit_code=exit_code, both=True)

    def fault(self, command: str, script: str | None) -> None:
        """Do something whenever a command of Buildbot is called. None: nothing any more."""
        path = self.folder / f"fault-{command}"
        if script is None:
            path.unlink()
        else:
            path.write_text(f"{script}\n")

    def behind(self, script: str) -> None:
        """Do something once, between the exchange of the sets and the master's noticing it."""
        manifest = self.masters / "manifest.json"
        inode = manifest.stat().st_ino
        pid = self.pid()
        os.kill(pid, signal.SIGSTOP)

        def act() -> None:
            wait_for("the exchange", lambda: manifest.stat().st_ino != inode)
            subprocess.run(["sh", "-c", script], check=True)
            os.kill(pid, signal.SIGCONT)

        threading.Thread(target=act, daemon=True).start()

    def files(self) -> dict[str, str]:
        """The set on the disk, whole: each file with its sum, as the manifest lists it."""
        manifest = json.loads((self.masters / "manifest.json").read_text())["files"]
        for path, digest in manifest.items():
            assert hashlib.sha256((self.masters / path).read_bytes()).hexdigest() == digest, path
        return dict(manifest)

    def pollers(self) -> set[str]:
        """The pollers that the master says it has."""
        found = self.master.rest("changesources")["changesources"]
        return {source["name"] for source in found if source["master"]}

    def updates(self) -> int:
        """How often the master was told to load a configuration."""
        return self.master.log().count("beginning configuration update")

    def pid(self) -> int:
        """The master's process."""
        return int(json.loads((self.master.basedir / "fdroid-bb-live.json").read_text())["pid"])

    def leftovers(self) -> list[str]:
        """What should not be there between two runs."""
        return [p.name for p in self.out.iterdir() if p.name.startswith(".masters-staging")]
