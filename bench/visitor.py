"""A person who signs in with Microsoft, as fast as a program can: the requests of a browser, and nothing around them."""

import re
from html import unescape
from typing import Self
from urllib.parse import urlencode, urlsplit

from bench.stage import PASSWORD, Stage
from bench.wire import Answer, Wire

_ACTION = re.compile(r'<form method="post" action="([^"]*)"')
_FIELD = re.compile(r'name="([^"]*)" value="([^"]*)"')
SESSION_COOKIE = "__Host-sos-session"


class Visitor:
    """One person at one browser. The first sign-in asks for the password; Microsoft then remembers them."""

    def __init__(self, stage: Stage, username: str) -> None:
        self._ours = Wire(stage.worker.url)
        self._microsoft = Wire(stage.microsoft)
        self._login = "/login?" + urlencode({"login_hint": username})
        self._username = username
        self._remembered = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.__exit__()
        self._microsoft.__exit__()

    def sign_in(self) -> str:
        """Sign in and give the cookie of the new session. Raises AssertionError when that fails."""
        started = self._ours.get(self._login)
        page = self._microsoft.get(_target(started.header("location")), {"Cookie": self._remembered})
        if not self._remembered:
            answer = urlencode({"account": self._username, "password": PASSWORD}).encode()
            page = self._microsoft.post(_form(page)[0], answer)
            self._remembered = "; ".join(f"{name}={value}" for name, value in page.cookies().items())
        action, fields = _form(page)
        cookies = "; ".join(f"{name}={value}" for name, value in started.cookies().items())
        finished = self._ours.post(action, urlencode(fields).encode(), {"Cookie": cookies})
        session = finished.cookies().get(SESSION_COOKIE, "")
        if not session:
            raise AssertionError(f"no session: {finished.status} {finished.body[:2000]!r}")
        return session


def _form(page: Answer) -> tuple[str, dict[str, str]]:
    text = page.body.decode()
    found = _ACTION.search(text)
    if found is None:
        raise AssertionError(f"no form: {page.status} {text[:2000]}")
    fields = {name: unescape(value) for name, value in _FIELD.findall(text)}
    return _target(unescape(found[1])), fields


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
