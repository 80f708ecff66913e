# SPDX-License-Identifier: GPL-2.0-or-later
"""What browsers are told with each page: what it may load, and who may show it in a frame.

What Buildbot lacked: pages hold text of strangers, and nothing forbids a script that comes in with
it, a frame of another site around a button, or a script that reads the cookie of a login.
"""

from __future__ import annotations

import secrets
from typing import Any

from buildbot.util.twisted import async_to_deferred
from buildbot.www.config import IndexResource
from buildbot.www.service import BuildbotSite

# For everything but Buildbot's own page: data, logs, and what that page loads into itself.
_NOTHING = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

# For Buildbot's page, whose one script in the page has the nonce. Its parts set styles themselves.
_PAGE = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": _NOTHING,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_SCRIPT = b'<script id="bb-config">'

_get_resource: Any = BuildbotSite.getResourceFor
_render_index: Any = IndexResource.renderIndex


def _with_headers(site: Any, request: Any) -> Any:
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    add: Any = request.addCookie
    # The proxy speaks TLS; what it asks here is plain.
    is_secure = request.isSecure() or site.master.config.buildbotURL.startswith("https:")

    def add_cookie(name: Any, value: Any, **more: Any) -> None:
        # `lax`: whoever comes back from a forge's login has the cookie with them.
        add(name, value, **{**more, "secure": is_secure, "httpOnly": True, "sameSite": b"lax"})

    request.addCookie = add_cookie
    return _get_resource(site, request)


@async_to_deferred
async def _index_with_nonce(resource: Any, request: Any) -> bytes:
    page: bytes = await _render_index(resource, request)
    nonce = secrets.token_urlsafe(18)
    request.setHeader("Content-Security-Policy", _PAGE.format(nonce=nonce))
    return page.replace(_SCRIPT, _SCRIPT[:-1] + f' nonce="{nonce}">'.encode(), 1)


# Buildbot offers no way to add any of this: it replaces the methods.
BuildbotSite.getResourceFor = _with_headers  # type: ignore[assignment,method-assign]
IndexResource.renderIndex = _index_with_nonce  # type: ignore[assignment,method-assign]
