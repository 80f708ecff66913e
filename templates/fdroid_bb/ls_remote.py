# SPDX-License-Identifier: GPL-2.0-or-later
"""One `git ls-remote` at a repository that a stranger named.

What Buildbot lacked: its git commands read the master's own git configuration and credentials,
follow a redirect anywhere, and wait an hour for a server that says nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from twisted.internet import threads

from . import process, refs

# Bytes of refs a server may send: some 60,000 tags.
OUTPUT_LIMIT = 8 * 1024 * 1024

# Bytes of memory for git, which takes the whole of an answer before it reads any of it.
MEMORY_LIMIT = 512 * 1024 * 1024

# What git needs of the master's environment: itself, certificates, a proxy.
_PASSED_ON = (
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
)

# No configuration but ours, no credentials, no questions. There is no repository: a `GIT_DIR`
# that is none keeps git from looking for one above the working directory.
_ENVIRONMENT = {
    "GIT_ASKPASS": "/bin/true",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_DIR": "/dev/null",
    "GIT_SSH_COMMAND": "/bin/false",
    "GIT_TERMINAL_PROMPT": "0",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
}

_OPTIONS = ("-c", "credential.helper=", "-c", "http.followRedirects=initial")

_REDIRECT = "warning: redirecting to "


@dataclass(frozen=True)
class Watch:
    """Which refs of a repository matter: every tag, one branch, or where HEAD points."""

    tags: bool = False
    branch: str | None = None

    @property
    def wanted(self) -> str:
        """The full name of the ref, or what the names of the refs begin with."""
        if self.tags:
            return "refs/tags/"
        return "HEAD" if self.branch is None else f"refs/heads/{self.branch}"

    def arguments(self, url: str) -> list[str]:
        """What to say to `git ls-remote`."""
        if self.tags:
            return ["--tags", "--", url]
        return ["--symref", "--", url, self.wanted]

    def holds(self, name: str) -> bool:
        """Whether a ref matters. git also lists `x/HEAD` when it is asked for `HEAD`."""
        return name.startswith(self.wanted) if self.tags else name == self.wanted


@dataclass(frozen=True)
class Remote:
    """Where to ask, by which protocols (`GIT_ALLOW_PROTOCOL`), and for how many seconds."""

    url: str
    allow_protocol: str
    timeout: int


async def ls_remote(reactor: process.Reactor, remote: Remote, watch: Watch) -> refs.Answer:
    """The refs that matter. Raises CommandFailed, with git's own words where it has any."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    command = process.start(
        reactor,
        ["git", *_OPTIONS, "ls-remote", *watch.arguments(remote.url)],
        env={**env, **_ENVIRONMENT, "GIT_ALLOW_PROTOCOL": remote.allow_protocol},
        seconds=remote.timeout,
        stdout=OUTPUT_LIMIT,
        memory=MEMORY_LIMIT,
    )
    status = await command.ended
    said = command.tail()
    for line in said:
        if line.startswith(_REDIRECT):
            _check_redirect(remote.url, line.removeprefix(_REDIRECT))
    if status:
        why = next((line for line in said if line.startswith("fatal: ")), None)
        raise process.CommandFailed(why or f"git ended with status {status}")
    # Not in the reactor's thread: the whole of the limit takes a second to read.
    return await threads.deferToThread(_read, bytes(command.stdout), watch)


def _read(output: bytes, watch: Watch) -> refs.Answer:
    answer = refs.parse(output)
    answer.refs = {name: commit for name, commit in answer.refs.items() if watch.holds(name)}
    return answer


def _check_redirect(url: str, target: str) -> None:
    """A forge may move a repository within its host; elsewhere is for a person to decide.

    git has asked there by then, but nothing it heard is used.
    """
    if urlsplit(target).netloc.lower() != urlsplit(url).netloc.lower():
        raise process.CommandFailed(f"redirected to another host: {target}")
