# SPDX-License-Identifier: GPL-2.0-or-later
"""Write what the REST API answers in the reactor's thread.

What Buildbot lacked: it writes an answer piece by piece from another thread, which Twisted does not
allow. Now and then a piece is lost, and the page that asked waits for it for ever: the more
pieces the likelier, and thousands of change sources are many.
"""

from __future__ import annotations

import json
from typing import Any

from buildbot.www.rest import V2RootResource
from twisted.internet import reactor
from twisted.web.http import Request


def _write_json_data(request: Request, encoder: json.JSONEncoder, data: Any) -> None:
    """Runs in a thread of its own, for the work is in the encoding."""
    body = encoder.encode(data).encode()
    # Not waited for: the request is finished right after, by the same way, so that whoever asked
    # does not go in between.
    reactor.callFromThread(_write, request, body)


def _write(request: Request, body: bytes) -> None:
    if request.finished or request.channel is None:
        # Whoever asked has gone.
        return
    request.setHeader(b"content-length", str(len(body)).encode())
    if request.method != b"HEAD":
        request.write(body)


# Buildbot offers no way to have it written otherwise: this replaces the method.
V2RootResource._write_json_data = staticmethod(_write_json_data)  # type: ignore[method-assign]
