# SPDX-License-Identifier: GPL-2.0-or-later
"""One `git ls-remote` at a repository that a stranger named.

What Buildbot lacked: its git commands read the master's own git configuration and credentials,
follow a redirect anywhere, and wait an hour for a server that says nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from twisted.internet import threads

from ..common import process
from . import refs, responses
from .responses import Response

# Bytes of refs a server may send: some 60,000 tags.
OUTPUT_LIMIT = 8 * 1024 * 1024

# Bytes of headers a server may send, with what git says about them. A plain answer has 6,000.
TRACE_LIMIT = 256 * 1024

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
    "GIT_TRACE_CURL": str(process.REPORT),
    "GIT_TRACE_CURL_NO_DATA": "1",
    "GIT_TRACE_REDACT": "1",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
}

_TAGS = "refs/tags/"

_OPTIONS = ("-c", "credential.helper=", "-c", "http.followRedirects=false")

_DEFAULT_PORTS = {"http": 80, "https": 443}

# The statuses of redirects, and how many of them one poll follows.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3

# What git asks for below the address of a repository.
_ASKED = "/info/refs?service=git-upload-pack"

# Characters of a reason.
_WHY_LIMIT = 2000

# What git calls itself. Some servers, and what protects them from crawlers, want the beginning.
_USER_AGENT = "git/fdroid-bb"


class PollFailed(Exception):
    """A poll without refs: in git's own words where it has any, and what the server answered."""

    def __init__(self, why: str, response: Response, *, timed_out: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.response = response
        # Whether it concerns the host rather than one repository.
        self.of_host = timed_out or response.of_host

    @property
    def retry_after(self) -> float | None:
        """How long the host told us to wait, in seconds."""
        return self.response.retry_after if self.response.of_host else None


@dataclass(frozen=True)
class Watch:
    """Which refs of a repository matter: where HEAD points, or one branch, or every tag, or every
    tag and HEAD.
    """

    tags: bool = False
    branch: str | None = None
    head: bool = False

    @property
    def wanted(self) -> str:
        """The full name of the ref, or what the names of the refs begin with."""
        if self.tags:
            return f"HEAD {_TAGS}" if self.head else _TAGS
        return "HEAD" if self.branch is None else f"refs/heads/{self.branch}"

    def arguments(self, url: str) -> list[str]:
        """What to say to `git ls-remote`."""
        if self.tags and not self.head:
            # As an option, for then the server sends nothing else.
            return ["--tags", "--", url]
        return ["--symref", "--", url, *(["HEAD", f"{_TAGS}*"] if self.tags else [self.wanted])]

    def holds(self, name: str) -> bool:
        """Whether a ref matters. git also lists `x/HEAD` when it is asked for `HEAD`."""
        if self.tags:
            return name.startswith(_TAGS) or (self.head and name == "HEAD")
        return name == self.wanted

    def lacking(self, answer: refs.Answer) -> str | None:
        """Why an answer is none, if it has nothing of what it should have."""
        if answer.refs or (self.tags and answer.has_head):
            return None
        if self.branch is not None:
            return f"an answer without the branch `{self.branch}`"
        return "an answer without HEAD" + (" and without tags" if self.tags else "")


@dataclass(frozen=True)
class Remote:
    """Where to ask, by which protocols (`GIT_ALLOW_PROTOCOL`), for how many seconds, and who asks,
    for the user agent.
    """

    url: str
    allow_protocol: str
    timeout: int
    operator: str | None = None

    @property
    def scheme(self) -> str:
        """Of its URL."""
        return urlsplit(self.url).scheme

    @property
    def is_http(self) -> bool:
        """Whether there are headers."""
        return self.scheme in _DEFAULT_PORTS

    @property
    def host(self) -> str:
        """The host and port to ask."""
        return host_of(self.url)

    @property
    def user_agent(self) -> str:
        """What git calls itself."""
        return f"{_USER_AGENT} ({self.operator})" if self.operator else _USER_AGENT


def host_of(url: str) -> str:
    """The host and port that a URL leads to, without the port that goes without saying.

    Raises ValueError for what is no URL.
    """
    parts = urlsplit(url)
    name = (parts.hostname or "").removesuffix(".")
    name = f"[{name}]" if ":" in name else name
    port = parts.port
    return name if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{name}:{port}"


async def ls_remote(reactor: process.Reactor, remote: Remote, watch: Watch) -> refs.Answer:
    """The refs that matter. Raises PollFailed."""
    answer = await _call_where_it_is(reactor, remote, watch)
    if watch.tags and not watch.head and not answer.refs:
        # No tag yet, or no repository any more?
        head = await _call_where_it_is(reactor, remote, Watch())
        answer.has_head = head.has_head
    return answer


async def _call_where_it_is(reactor: process.Reactor, remote: Remote, watch: Watch) -> refs.Answer:
    """Follow redirects within the host, by which forges move repositories. git would ask at
    another one before it could be told not to, and that may be one of a network of ours.
    """
    for _ in range(_MOST_REDIRECTS):
        try:
            return await _call(reactor, remote, watch)
        except PollFailed as e:
            if e.response.status not in _REDIRECTS or e.response.location is None:
                raise
            remote = replace(remote, url=_moved(remote, e.response))
    return await _call(reactor, remote, watch)


def _moved(remote: Remote, response: Response) -> str:
    """The address that a redirect leads to. Raises PollFailed if it is not followed."""
    shown = process.printable(response.location or "", 200)
    try:
        target = urljoin(remote.url + _ASKED, response.location)
        same = host_of(target) == remote.host
    except ValueError:
        target, same = "", False
    refused = Response(status=response.status)
    if not same:
        raise PollFailed(f"redirected to another host: {shown}", refused)
    # Never from a protected connection to an open one.
    is_safe = urlsplit(target).scheme in (remote.scheme, "https")
    if not target.endswith(_ASKED) or not is_safe:
        raise PollFailed(f"redirected to what is no repository: {shown}", refused)
    return target.removesuffix(_ASKED)


async def _call(reactor: process.Reactor, remote: Remote, watch: Watch) -> refs.Answer:
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ENVIRONMENT
    env["GIT_ALLOW_PROTOCOL"] = remote.allow_protocol
    env["GIT_HTTP_USER_AGENT"] = remote.user_agent
    try:
        command = process.start(
            reactor,
            ["git", *_OPTIONS, "ls-remote", *watch.arguments(remote.url)],
            env=env,
            seconds=remote.timeout,
            stdout=OUTPUT_LIMIT,
            report=TRACE_LIMIT,
            memory=MEMORY_LIMIT,
        )
    except process.CommandFailed as e:
        raise PollFailed(str(e), Response()) from e
    try:
        status = await command.ended
        problem = f"git ended with status {status}" if status else None
    except process.CommandFailed as e:
        problem = str(e)
    response = _response(remote, bytes(command.report))
    if problem is not None:
        why = "\n".join(command.tail()) or problem
        if command.problem is not None:
            why = f"{problem}\n{why}" if why != problem else problem
        raise PollFailed(why[:_WHY_LIMIT], response, timed_out=command.timed_out)
    if response.asked and response.status is None and remote.is_http:
        # Then neither redirects nor limits are seen.
        raise PollFailed("the trace of this version of git cannot be read", Response(asked=False))
    # Not in the reactor's thread: the whole of the limit takes a second to read.
    return await threads.deferToThread(_read, bytes(command.stdout), watch)


def _response(remote: Remote, trace: bytes) -> Response:
    """What came of it."""
    return responses.read(trace) if remote.is_http else Response()


def _read(output: bytes, watch: Watch) -> refs.Answer:
    answer = refs.parse(output)
    answer.has_head = "HEAD" in answer.refs
    answer.refs = {name: commit for name, commit in answer.refs.items() if watch.holds(name)}
    return answer
