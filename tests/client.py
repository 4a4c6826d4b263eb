"""A browser without a screen: cookies by the rules that matter here, forms, redirects one at a time.

Each origin is taken for a site of its own, as the Address and Microsoft are in life (on a laptop both are `localhost`). So a
form that Microsoft's page posts to us arrives without our `SameSite=Lax` cookies.
"""

import html
import re
import ssl
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_FIELDS = ("password", "password_again", "code", "token", "csrf_token", "nonce")
_SHORTEST_SECRET = 8


@dataclass
class Form:
    """A form of a page: where it goes and what it holds."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.frames: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(facts.get("action", ""), facts.get("method", "get").lower()))
        elif tag == "input" and self.forms and facts.get("name"):
            self.forms[-1].fields[facts["name"]] = facts.get("value", "")
        elif tag == "iframe":
            self.frames.append(facts.get("src", ""))


@dataclass(frozen=True)
class Page:
    """An answer: its final address, status, headers and text."""

    url: str
    response: httpx.Response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status_code

    @property
    def text(self) -> str:
        """The body, with entities resolved, for looking for sentences."""
        return html.unescape(self.response.text)

    @property
    def title(self) -> str:
        """The first heading of the page."""
        found = re.search(r"<h1>(.*?)</h1>", self.response.text, re.DOTALL)
        return html.unescape(found.group(1)) if found else ""

    @property
    def location(self) -> str:
        """Where a redirect leads, made absolute; empty when it is none."""
        target = self.response.headers.get("location", "")
        return urljoin(self.url, target) if self.status in _REDIRECTS else ""

    @property
    def forms(self) -> list[Form]:
        """The forms of the page, their actions made absolute."""
        forms = self._elements.forms
        for form in forms:
            form.action = urljoin(self.url, form.action)
        return forms

    @property
    def frames(self) -> list[str]:
        """The addresses of the frames in the page."""
        return self._elements.frames

    @property
    def reference(self) -> str:
        """The reference number on a page that says what went wrong."""
        found = re.search(r"Reference: <code>([0-9A-Z-]+)</code>", self.response.text)
        return found.group(1) if found else ""

    @property
    def _elements(self) -> _Elements:
        parser = _Elements()
        parser.feed(self.response.text)
        return parser


class Browser:
    """One person's browser.

    `served_by` sends what is meant for an origin to another one, as a load balancer does. From the origins in
    `refused` it keeps no cookies. `secrets` gathers what must not be seen elsewhere: the passwords, codes,
    nonces and cookies of this browser.
    """

    def __init__(self, ca_file: str | None = None) -> None:
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._client = httpx.Client(trust_env=False, timeout=30, verify=verify)
        self._cookies: dict[str, dict[str, tuple[str, str]]] = {}
        self.served_by: dict[str, str] = {}
        self.refused: set[str] = set()
        self.secrets: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def cookies(self, url: str) -> dict[str, str]:
        """The cookies kept for an origin."""
        return {name: value for name, (value, _site) in self._jar(url).items()}

    def set_cookie(self, url: str, name: str, value: str, same_site: str = "lax") -> None:
        """Put a cookie by hand."""
        self._jar(url)[name] = (value, same_site)

    def forget(self, url: str, name: str = "") -> None:
        """Lose one cookie, or all of an origin."""
        jar = self._jar(url)
        for gone in [name] if name else list(jar):
            jar.pop(gone, None)

    def send(
        self,
        method: str,
        url: str,
        *,
        data: dict[str, str] | None = None,
        came_from: str = "",
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> Page:
        """Send one request and keep its cookies. `came_from` is the page that caused it, where there is one."""
        foreign = bool(came_from) and _origin(came_from) != _origin(url)
        sent = {
            name: value
            for name, (value, same_site) in self._jar(url).items()
            if not (foreign and method == "POST" and same_site != "none")
        }
        extra = {"Cookie": "; ".join(f"{name}={value}" for name, value in sent.items())} if sent else {}
        if came_from and method == "POST":
            extra["Origin"] = _origin(came_from)
        self._remember_secrets(url, data or {})
        response = self._client.request(
            method,
            self._balanced(url),
            data=data,
            content=content,
            headers=[
                (name.encode(), value.encode("latin-1")) for name, value in (extra | (headers or {})).items()
            ],
            follow_redirects=False,
        )
        if _origin(url) not in self.refused:
            self._keep(url, response)
        return Page(url, response)

    def get(self, url: str, **headers: str) -> Page:
        """Open an address without following where it leads."""
        return self.send("GET", url, headers=headers)

    def open(self, url: str, came_from: str = "", *, at_most: int = 12) -> Page:
        """Open an address and follow it to the page where it ends. Fails on a loop."""
        page = self.send("GET", url, came_from=came_from)
        return self.follow(page, at_most=at_most)

    def follow(self, page: Page, *, at_most: int = 12) -> Page:
        """Follow redirects from an answer."""
        for _ in range(at_most):
            if not page.location:
                return page
            page = self.send("GET", page.location, came_from=page.url)
        raise AssertionError(f"still redirected after {at_most} steps, to {page.location}")

    def submit(self, page: Page, index: int = 0, *, follow: bool = True, **fields: str) -> Page:
        """Fill a form of a page and send it."""
        form = page.forms[index]
        data = form.fields | fields
        if form.method == "get":
            sent = self.send("GET", str(httpx.URL(form.action, params=data)), came_from=page.url)
        else:
            sent = self.send("POST", form.action, data=data, came_from=page.url)
        return self.follow(sent) if follow else sent

    def _jar(self, url: str) -> dict[str, tuple[str, str]]:
        return self._cookies.setdefault(_origin(url), {})

    def _balanced(self, url: str) -> str:
        origin = _origin(url)
        return self.served_by.get(origin, origin) + url.removeprefix(origin)

    def _remember_secrets(self, url: str, data: dict[str, str]) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        for name in _SECRET_FIELDS:
            for fields in (data, query):
                if len(fields.get(name, "")) >= _SHORTEST_SECRET:
                    self.secrets.add(fields[name])

    def _keep(self, url: str, response: httpx.Response) -> None:
        for header in response.headers.get_list("set-cookie"):
            pair, *attributes = header.split(";")
            name, _, value = pair.partition("=")
            facts = {
                part.strip().partition("=")[0].lower(): part.strip().partition("=")[2] for part in attributes
            }
            if facts.get("max-age") == "0" or "1970" in facts.get("expires", ""):
                self._jar(url).pop(name, None)
            else:
                self._jar(url)[name] = (value, facts.get("samesite", "lax").lower())
                if len(value) >= _SHORTEST_SECRET:
                    self.secrets.add(value)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
