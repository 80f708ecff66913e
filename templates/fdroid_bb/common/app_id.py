# SPDX-License-Identifier: GPL-2.0-or-later
"""What an application id is."""

from __future__ import annotations

import re

_APP_ID = re.compile(
    r"\A(?:[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*|[0-9A-Fa-f]+)\Z", re.ASCII
)


def app_id(value: object) -> str | None:
    """As fdroidserver's `is_valid_package_name`, and short enough for a file name."""
    return value if isinstance(value, str) and len(value) < 250 and _APP_ID.match(value) else None
