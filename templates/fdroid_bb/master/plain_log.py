# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep what strangers send out of the log, as far as it could act on a terminal.

What Buildbot lacked: the name with which somebody fails to log in, at the port for workers as on
the page, is logged as it came, with all that moves the cursor or hides what stands there.
"""

from __future__ import annotations

from typing import Any

from twisted.python import log

# The most characters of one message: more is no message.
LONGEST = 65_536

_text_of = log.textFromEventDict


def plain(text: str) -> str:
    """The text with only lines and tabs besides what can be seen, cut at `LONGEST`."""
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _plain_text_of(event: dict[str, Any]) -> str | None:
    text = _text_of(event)
    return None if text is None else plain(text)


# Twisted has no place to change how its own observers write an event: this replaces the function
# that they call.
log.textFromEventDict = _plain_text_of  # type: ignore[assignment]
