# SPDX-License-Identifier: GPL-2.0-or-later
"""Real git repositories, served over http on loopback by git's own http-backend."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from masters import PATIENCE


class Repository:
    """A bare repository with a default branch `main` and one commit."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        path.parent.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "--bare", "-b", "main", str(path), bare=False)
        self.commit()

    def git(self, *args: str, bare: bool = True, text: str = "") -> str:
        """Run git in it; `text` is its input."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        command = ["git", *(["-C", str(self.path)] if bare else []), *args]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            env=env,
            timeout=PATIENCE,
            input=text.encode(),
        )
        return done.stdout.decode().strip()

    def commit(self, branch: str = "main", count: int = 1) -> str:
        """Put commits on a branch; the last one."""
        tree = self.git("hash-object", "-w", "-t", "tree", "/dev/null")
        for _ in range(count):
            exists = self.git("for-each-ref", f"refs/heads/{branch}")
            parent = ["-p", f"refs/heads/{branch}"] if exists else []
            message = f"commit {os.urandom(4).hex()}"
            commit = self.git("commit-tree", tree, *parent, "-m", message)
            self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def put(self, branch: str, file: str, text: str) -> str:
        """Put a commit on a branch that writes a file; that commit."""
        blob = self.git("hash-object", "-w", "--stdin", text=text)
        return self._add(branch, "100644", blob, file)

    def link(self, branch: str, folder: str, commit: str) -> str:
        """Put a commit on a branch that makes a folder a submodule at `commit`."""
        return self._add(branch, "160000", commit, folder)

    def _add(self, branch: str, mode: str, target: str, path: str) -> str:
        self.git("read-tree", f"refs/heads/{branch}")
        self.git("update-index", "--add", "--cacheinfo", f"{mode},{target},{path}")
        tree = self.git("write-tree")
        parent = f"refs/heads/{branch}"
        commit = self.git("commit-tree", tree, "-p", parent, "-m", f"put {path}")
        self.git("update-ref", parent, commit)
        return commit

    def tag(self, name: str, *, annotated: bool = False, branch: str = "main") -> str:
        """Set or move a tag; the commit it leads to."""
        flags = ["-a", "-m", name] if annotated else []
        self.git("tag", "-f", *flags, name, branch)
        return self.git("rev-parse", branch)


class Server:
    """Serves the repositories below `root`.

    On a port of loopback, or of `address`; any free one if not given. `/moved/X` redirects to
    `/X`, `/moved-away/X` to another host. Who sends the header `Authorization: PUSH` with `push`
    as PUSH may push.
    """

    def __init__(
        self, root: Path, port: int = 0, *, address: str = "127.0.0.1", push: str | None = None
    ) -> None:
        self.root = root
        self.address = address
        # Held while a request is answered. A test that holds it makes several changes at once.
        self.quiet = threading.Lock()
        quiet = self.quiet
        # How many more requests for a repository are answered with 503, by its name.
        self.busy: Counter[str] = Counter()
        busy = self.busy
        # What was asked of it as `localhost`, which is another host than 127.0.0.1.
        self.asked_away: list[str] = []
        asked_away = self.asked_away
        # The header `Authorization` without which a repository is not there, by its name.
        self.private: dict[str, str] = {}
        private = self.private
        backend = subprocess.run(["git", "--exec-path"], check=True, capture_output=True)
        program = f"{backend.stdout.decode().strip()}/git-http-backend"

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                if self.headers.get("Host", "").startswith("localhost"):
                    asked_away.append(self.path)
                if self.path.startswith(("/moved/", "/moved-away/")):
                    host = "localhost" if self.path.startswith("/moved-away") else "127.0.0.1"
                    rest = self.path.split("/", 2)[2]
                    self.send_response(301)
                    self.send_header("Location", f"http://{host}:{port}/{rest}")
                    self.end_headers()
                    return
                path, _, query = self.path.partition("?")
                name = path.split("/", 2)[1]
                with quiet:
                    is_busy = busy[name] > 0
                    busy[name] -= is_busy
                if is_busy:
                    self.send_error(503)
                    return
                asked = self.headers.get("Authorization")
                if private.get(name, asked) != asked:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                env = {
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "GIT_CONFIG_COUNT": "1",
                    "GIT_CONFIG_KEY_0": "safe.directory",
                    "GIT_CONFIG_VALUE_0": "*",
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "REMOTE_ADDR": "127.0.0.1",
                }
                if push is not None and self.headers.get("Authorization") == push:
                    # To git's http-backend, whoever is known may push.
                    env["REMOTE_USER"] = "somebody"
                if self.headers.get("Content-Encoding"):
                    env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
                with quiet:
                    done = subprocess.run([program], input=body, capture_output=True, env=env)
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
                status = next((v for k, v in headers if k == "Status"), "200 OK")
                self.send_response(int(status.split()[0]))
                for key, value in headers:
                    if key != "Status":
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((address, port), Handler)
        port = self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def repository(self, name: str) -> Repository:
        """A new one."""
        return Repository(self.root / name, self.repository_url(name))

    def repository_url(self, name: str) -> str:
        """Where a repository of that name is."""
        return f"http://{self.address}:{self.port}/{name}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
