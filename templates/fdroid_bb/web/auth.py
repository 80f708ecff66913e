# SPDX-License-Identifier: GPL-2.0-or-later
"""Logins whose passwords are Buildbot secrets.

What Buildbot lacked: `UserPasswordAuth` wants the passwords themselves in master.cfg, where every
reader of the generated configuration would see them, and lets anybody guess as fast as they can.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from buildbot.process.properties import Properties, Secret
from buildbot.util import asyncSleep
from buildbot.util.twisted import async_to_deferred
from buildbot.www.auth import CustomAuth
from twisted.cred.error import UnauthorizedLogin

# Seconds that a wrong password takes, and how many of them are looked at meanwhile.
_PAUSE = 2.0
_MOST_WRONG = 10


class SecretAuth(CustomAuth):
    """Users and the secrets that hold their passwords."""

    def __init__(self, users: Mapping[str, Secret], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.users = dict(users)
        self._wrong = 0

    def check_credentials(self, username: bytes, password: bytes) -> bool:
        """Say no: the secret is asked for below, where waiting is possible."""
        return False

    @async_to_deferred
    async def requestAvatarId(self, cred: Any) -> bytes:
        """Compare in a time that tells nothing of the password.

        Wrong ones are answered later, and beyond a number of them nobody's password is looked at:
        that is five guesses a second. The proxy has a limit for each address.
        """
        if self._wrong >= _MOST_WRONG:
            raise UnauthorizedLogin
        name: bytes = cred.username
        secret = self.users.get(name.decode("utf-8", "replace"))
        if secret is not None:
            properties = Properties()
            properties.master = self.master
            expected: str = await properties.render(secret)
            if expected and hmac.compare_digest(expected.encode(), cred.password):
                return name
        self._wrong += 1
        try:
            await asyncSleep(_PAUSE, self.master.reactor)
        finally:
            self._wrong -= 1
        raise UnauthorizedLogin
