# SPDX-License-Identifier: GPL-2.0-or-later
"""Log in with an account of GitLab or GitHub.

What Buildbot lacked: to its `GitLabAuth` the groups of a user are all groups that the user can
see, public ones among them, and each by the last part of its path, so that whoever makes a group
`x/admins` is one of `fdroid/admins`. It asks for all that a token can be asked for, sends the token
in URLs, waits for answers for ever, and takes a login that another page has begun.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import requests
from buildbot.www import resource
from buildbot.www.authz.roles import RolesFromBase
from buildbot.www.oauth2 import GitHubAuth, GitLabAuth, OAuth2LoginResource
from twisted.internet import defer
from twisted.web.error import Error

# Seconds that a forge has for each answer.
_LIMIT = 30

# Pages of groups that are read, of 100 each.
_PAGES = 20

# The key of a session that holds what the forge must send back.
_BEGUN = "login"


class _Login(OAuth2LoginResource):
    """As Buildbot's, but that it takes only a login which the same browser has begun here."""

    @defer.inlineCallbacks
    def renderLogin(self, request: Any) -> Any:
        """Send a browser to the forge, or take it back from there."""
        session = request.getSession()
        if request.args.get(b"code", [b""])[0]:
            begun = session.user_info.get(_BEGUN, "")
            sent = parse_qs(request.args.get(b"state", [b""])[0].decode("ascii", "replace"))
            if not begun or not hmac.compare_digest(begun, sent.get(_BEGUN, [""])[0]):
                raise Error(403, b"this login was not begun here: log in again")
            yield super().renderLogin(request)
            return
        begun = secrets.token_urlsafe(32)
        session.user_info = {"anonymous": True, _BEGUN: begun}
        session.updateSession(request)
        url = yield self.auth.getLoginURL(request.args.get(b"redirect", [None])[0])
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        back = dict(parse_qsl(query.get("state", "")))
        query["state"] = urlencode({**back, _BEGUN: begun})
        raise resource.Redirect(parts._replace(query=urlencode(query)).geturl())


class _Forge:
    """What both have in common."""

    resourceEndpoint: str
    master: Any

    def getLoginResource(self) -> OAuth2LoginResource:
        """As Buildbot's."""
        return _Login(self.master, self)  # type: ignore[arg-type]  # it is mixed into one

    def get(self, session: requests.Session, path: str) -> Any:
        """What the forge answers."""
        answer = session.get(self.resourceEndpoint + path, timeout=_LIMIT)
        answer.raise_for_status()
        return answer.json()


class GitLabLogin(_Forge, GitLabAuth):
    """Users of the GitLab at `url`; and which of `groups` they are members of."""

    def __init__(
        self, *, url: str, client_id: str, client_secret: Any, groups: Sequence[str] = ()
    ) -> None:
        super().__init__(url, client_id, client_secret)
        self.authUriAdditionalParams = {"scope": "read_api" if groups else "read_user"}
        self._groups = frozenset(groups)

    def createSessionFromToken(self, token: dict[str, Any]) -> requests.Session:
        """As Buildbot's, with the token in a header."""
        session = super().createSessionFromToken(token)
        session.params = {}
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        return session

    def getUserInfoFromOAuthClient(self, c: requests.Session) -> dict[str, Any]:
        """Who it is. Blocks: Buildbot calls it in a thread."""
        user = self.get(c, "/user")
        groups: list[str] = []
        for page in range(1, _PAGES + 1) if self._groups else ():
            # 10 is a guest, the least that a member can be.
            found = self.get(c, f"/groups?min_access_level=10&per_page=100&page={page}")
            groups += [group["full_path"] for group in found]
            if len(found) < 100:
                break
        return {
            "full_name": user["name"],
            "username": user["username"],
            "email": user.get("email") or "",
            # No others, for the session is a cookie.
            "groups": sorted(self._groups.intersection(groups)),
        }


class GitHubLogin(_Forge, GitHubAuth):
    """Users of GitHub, or of that at `url`, and which organisations of `groups` are theirs."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: Any,
        url: str | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        super().__init__(client_id, client_secret, serverURL=url)
        self.authUriAdditionalParams = {"scope": "read:org" if groups else ""}
        self._groups = frozenset(groups)

    def getUserInfoFromOAuthClient(self, c: requests.Session) -> dict[str, Any]:
        """Who it is. Blocks: Buildbot calls it in a thread."""
        user = self.get(c, "/user")
        groups = self.get(c, "/user/orgs?per_page=100") if self._groups else []
        return {
            "full_name": user["name"] or user["login"],
            "username": user["login"],
            "email": user.get("email") or "",
            "groups": sorted(self._groups.intersection(group["login"] for group in groups)),
        }


class RolesFromMembership(RolesFromBase):
    """Gives `roles` to members of one of `groups`."""

    def __init__(self, *, roles: Sequence[str], groups: Sequence[str]) -> None:
        super().__init__()
        self.roles = list(roles)
        self.groups = frozenset(groups)

    def getRolesFromUser(self, userDetails: dict[str, Any]) -> list[str]:
        """The roles of somebody."""
        return [] if self.groups.isdisjoint(userDetails.get("groups", ())) else self.roles
