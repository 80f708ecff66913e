# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server answered to git, by git's own trace of headers (`GIT_TRACE_CURL`).

What git lacked: it says «error: 429», and of when to ask again not a word. A request of our own
beside git's would ask the forge twice, and need a proxy, certificates and redirects like git's.
The trace comes over a pipe of its own; nothing of it is kept or logged but what stands here.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

# `12:00:00.000000 http.c:872    <= Recv header: HTTP/1.1 200 OK`. A server cannot forge the
# beginning: git splits headers at line ends, and begins each line itself.
_HEADER = re.compile(rb"[0-9:.]+ [\w.]+:\d+ +(=> Send|<= Recv) header: ?(.*)")
_REQUEST = re.compile(rb"([A-Z]+) \S+ HTTP/[\d.]+")
_STATUS = re.compile(rb"HTTP/[\d.]+ (\d{3})\b.*")

# What concerns a host, whichever of its repositories is asked; besides all from 500 on.
_PROXY_LOGIN, _TIMEOUT, _TOO_MANY = 407, 408, 429
_FORBIDDEN, _SERVER = 403, 500


@dataclass(frozen=True)
class Response:
    """The last answer, if there was one, and how long the server told us to wait, in seconds."""

    # Whether git got as far as to ask.
    asked: bool = True
    status: int | None = None
    retry_after: float | None = None
    # Where a redirect leads, as it stands there.
    location: str | None = None

    @property
    def of_host(self) -> bool:
        """Whether this, as a failure, concerns the host rather than one repository."""
        if self.status is None:
            return self.asked
        return (
            self.status in (_PROXY_LOGIN, _TIMEOUT, _TOO_MANY)
            or self.status >= _SERVER
            # As GitHub says it at times.
            or (self.status == _FORBIDDEN and self.retry_after is not None)
        )


def read(trace: bytes) -> Response:
    """What the last request of a trace came to. A proxy that opens a tunnel is no answer."""
    status: int | None = None
    retry_after: float | None = None
    location: str | None = None
    tunnel = False
    for line in trace.split(b"\n"):
        if (match := _HEADER.fullmatch(line.rstrip())) is None:
            continue
        sent, text = match[1].startswith(b"=>"), match[2]
        name, _, value = text.partition(b":")
        if sent and (request := _REQUEST.fullmatch(text)):
            status = retry_after = location = None
            tunnel = request[1] == b"CONNECT"
        elif sent or tunnel:
            continue
        elif answer := _STATUS.fullmatch(text):
            status, retry_after, location = int(answer[1]), None, None
        elif name.lower() == b"retry-after":
            retry_after = seconds(value.strip().decode("ascii", "replace"), time.time())
        elif name.lower() == b"location":
            location = value.strip().decode("utf-8", "replace")
    return Response(bool(trace), status, retry_after, location)


def seconds(value: str, now: float) -> float | None:
    """How long a `Retry-After` says to wait: it is a number of seconds or a date (RFC 9110)."""
    if re.fullmatch(r"[0-9]{1,10}", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, when.timestamp() - now)
