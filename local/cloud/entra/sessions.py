"""Who is signed in at Entra, by browser. Kept in memory: a restart signs everyone out."""

import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import uuid4

from local.cloud.web import Headers, Request

_COOKIE = "local-entra-session"
"""Cookies know no ports: on localhost this one also reaches the application, so its name must not clash."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One person's session in one browser."""

    username: str
    sid: str
    auth_time: datetime
    in_application: bool = False
    """The application has been signed in to, so it is told when this session ends."""


@dataclass(slots=True)
class BrowserSessions:
    """The sessions of all browsers, each of which may hold several people's."""

    _browsers: dict[str, dict[str, SignedIn]] = field(default_factory=dict)

    def of(self, request: Request) -> list[SignedIn]:
        """Give the sessions of the browser that sent the request."""
        return list(self._browsers.get(request.cookie(_COOKIE), {}).values())

    def find(self, request: Request, username: str) -> SignedIn | None:
        """Give one person's session in the browser that sent the request."""
        return self._browsers.get(request.cookie(_COOKIE), {}).get(username)

    def start(self, request: Request, username: str, now: datetime) -> tuple[SignedIn, Headers]:
        """Sign a person in, and give the header that tells the browser. A running session keeps its sid."""
        browser = request.cookie(_COOKIE)
        if browser not in self._browsers:
            browser = secrets.token_urlsafe(32)
            self._browsers[browser] = {}
        known = self._browsers[browser].get(username)
        session = replace(known, auth_time=now) if known else SignedIn(username, str(uuid4()), now)
        self._browsers[browser][username] = session
        return session, (("set-cookie", f"{_COOKIE}={browser}; Path=/; HttpOnly; SameSite=Lax"),)

    def enter_application(self, session: SignedIn) -> None:
        """Remember that the application was signed in to."""
        for people in self._browsers.values():
            if people.get(session.username) == session:
                people[session.username] = replace(session, in_application=True)

    def end(self, request: Request, ended: list[SignedIn]) -> None:
        """Sign people out of the browser that sent the request."""
        browser = self._browsers.get(request.cookie(_COOKIE), {})
        for session in ended:
            browser.pop(session.username, None)
