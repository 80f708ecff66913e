# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine for one build of a real app: a container of the recipe of the buildserver's box."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from conftest import ANDROID_IMAGE
from masters import PATIENCE

# Where the checkout of fdroiddata is in the machine.
CHECKOUT = "/home/vagrant/worker/build"

# A `fdroid-machine` for local workers: the real one, in a container that each build has for itself.
# Whoever asks for it removes the containers with the label.
IN_CONTAINER = f"""\
#!/bin/sh
set -eu
name=fdroid-bb-$(printf %s "$PWD" | sha256sum | cut -c1-16)
case $1 in timeout | prepare)
    docker rm --force "$name" >/dev/null 2>&1 || true
    docker run --detach --init --network host --label LABEL --name "$name" \\
        --volume "$PWD:{CHECKOUT}" {ANDROID_IMAGE} sleep infinity >/dev/null
    ;;
esac
chown -R 1000:1000 .
status=0
docker exec --workdir {CHECKOUT} "$name" fdroid-machine "$@" || status=$?
# git wants folders to be its user's own.
chown -R "$(id -u):$(id -g)" .
exit $status
"""


class Machine:
    """A fresh one with a copy of `fdroiddata`; what is made in its checkout is in `folder`."""

    def __init__(self, fdroiddata: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(fdroiddata, folder)
        subprocess.run(["chown", "-R", "1000:1000", str(folder)], check=True)
        self.name = f"fdroid-bb-{secrets.token_hex(6)}"
        volume = ["--volume", f"{folder}:{CHECKOUT}"]
        begin = ["run", "--detach", "--init", "--rm", "--name", self.name, *volume]
        docker(*begin, ANDROID_IMAGE, "sleep", "infinity")

    def run(self, *words: str) -> tuple[int, str]:
        """The exit status of a command in the checkout, and what it prints."""
        command = ["docker", "exec", "--workdir", CHECKOUT, self.name, *words]
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout

    def as_root(self, script: str) -> None:
        """Change the machine."""
        docker("exec", "--user", "root", self.name, "sh", "-ec", script)

    def steps(self, app: str, *names: str) -> str:
        """Have steps done, which must succeed; what they print."""
        said = ""
        for name in names:
            status, text = self.run("fdroid-machine", name, app)
            said += text
            assert status == 0, f"{name}: {said[-4000:]}"
        return said

    def artifacts(self) -> dict[str, int]:
        """What was collected: sizes of files."""
        top = self.folder / "artifacts"
        files = (path for path in top.rglob("*") if path.is_file())
        return {str(path.relative_to(top)): path.stat().st_size for path in files}

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *error: object) -> None:
        docker("rm", "--force", self.name)


def docker(*words: str) -> str:
    """What docker prints."""
    command = ["docker", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout


class Web:
    """Files over http, at an address that machines reach."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        folder.mkdir()
        self._server = ThreadingHTTPServer((address, 0), partial(_Quiet, directory=str(folder)))
        self.url = f"http://{address}:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing."""
