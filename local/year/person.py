"""A person who signs in with Microsoft: the requests of a browser, and the rules that answer them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Final
from urllib.parse import urljoin

import httpx

from local.cloud.entra.state import Person as Member
from shared.base64url import random_id
from shared.callback import Finished, finish
from shared.services import Services
from shared.signin import Hints, start

_ACTION: Final = re.compile(r'<form method="post" action="([^"]*)"')
_FIELD: Final = re.compile(r'name="([^"]*)" value="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Answered:
    """What a browser brings back from Microsoft."""

    fields: Mapping[str, str]
    cookies: Mapping[str, str]

    def come_back(self, services: Services) -> Finished:
        """End the sign-in. Raises what the person would be shown as a page."""
        return finish(services, self.fields, self.cookies, random_id())


class Person:
    """One person at one browser. The first sign-in asks for the password; Microsoft then remembers them."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._browser = httpx.Client(trust_env=False, timeout=10)
        self._remembered = False

    def go_to_microsoft(self, services: Services) -> Answered:
        """Begin a sign-in, and take Microsoft's answer along. Raises what the person would be shown as a page."""
        started = start(services, "/", Hints(login_hint=self._member.username))
        page = self._browser.get(started.url)
        if not self._remembered:
            form = {"account": self._member.username, "password": self._member.password}
            page = self._browser.post(urljoin(started.url, unescape(_action(page.text))), data=form)
            self._remembered = True
        fields = {name: unescape(value) for name, value in _FIELD.findall(page.text)}
        return Answered(fields, {started.cookie_name: started.cookie})

    def leave(self) -> None:
        """Close the browser."""
        self._browser.close()


def _action(html: str) -> str:
    found = _ACTION.search(html)
    if found is None:
        raise ValueError("Microsoft shows a page without a form")
    return found[1]
