# SPDX-License-Identifier: GPL-2.0-or-later
"""One HTTP request to a port of loopback, also from within another network.

As a program it reads the arguments of `ask` from stdin as a JSON list and prints the answer so.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import NamedTuple


class Answer(NamedTuple):
    """What came back; nothing is followed."""

    status: int
    headers: list[tuple[str, str]]
    text: str


def ask(port: int, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answer:
    """Send one request. OSError if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=200)
    try:
        connection.request(method, path, body.encode() if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except http.client.HTTPException as e:
        raise OSError(f"no answer: {e!r}") from e
    finally:
        connection.close()
    return Answer(response.status, response.getheaders(), text)


if __name__ == "__main__":
    json.dump(ask(*json.load(sys.stdin)), sys.stdout)
