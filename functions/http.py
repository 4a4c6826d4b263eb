"""From a request to an answer: cookies, forms, cross-site checks and headers.

Every door goes through `answer`, so that whatever happens inside becomes a page with a reference number that stands in
the log: never a stack trace, never an empty 500. What each error becomes is in `failures`.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

import azure.functions as func

from shared.base64url import random_id
from shared.errors import BadRequest, ForgedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shared.services import Services

SESSION_COOKIE: Final = "__Host-sos-session"
DEVICE_COOKIE: Final = "__Host-sos-device"
MAX_FORM_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 40
_FORM_COOKIE: Final = "__Host-sos-form"
_FORM_COOKIE_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_REFERENCE_LETTERS: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that look alike


@dataclass(frozen=True)
class Visit:
    """One request, read with suspicion. `reference` is the number that its pages and log lines share."""

    services: Services
    request: func.HttpRequest
    reference: str

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """The cookies; what is not a cookie is passed over, and of two with one name the first counts."""
        found: dict[str, str] = {}
        for part in self.header("cookie").split(";"):
            # Not `strip()`: it takes Unicode spaces too, and a browser lets others set "\u2000__Host-…" (RFC 6265, 5.2).
            name, separator, value = part.strip(" \t").partition("=")
            if separator:
                found.setdefault(name, value)
        return found

    @cached_property
    def form(self) -> Mapping[str, str]:
        """The fields of an urlencoded form. Raises BadRequest for anything larger, other or ambiguous."""
        body = self.request.get_body()
        if len(body) > MAX_FORM_BYTES:
            raise BadRequest("too_large")
        media_type = self.header("content-type").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            raise BadRequest("media_type")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
            )
        except ValueError:
            raise BadRequest("form") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadRequest("form")
        return fields

    def query(self, name: str) -> str:
        """A value of the query; empty when it is absent."""
        return str(self.request.params.get(name, ""))

    def header(self, name: str) -> str:
        """A header of the request, by its lower-case name; empty when it is absent."""
        return str(self.request.headers.get(name, ""))

    @property
    def client_address(self) -> str:
        """The address of the client as the platform saw it.

        The platform appends it to `X-Forwarded-For`; everything before the last comma is what the client claims.
        """
        return self.header("x-forwarded-for").rpartition(",")[2].strip()

    def require_same_origin(self, *origins: str) -> None:
        """Raise ForgedRequest when the browser says that another site sent this request.

        `Origin` stands on every cross-site form post; `Sec-Fetch-Site` says the same where it was stripped.
        """
        origin, site = self.header("origin"), self.header("sec-fetch-site")
        if (origin and origin not in origins) or (not origin and site not in {"", "same-origin", "none"}):
            raise ForgedRequest

    def require_own_form(self) -> None:
        """Raise ForgedRequest unless a fresh page of ours sent this form (signed double submit, OWASP)."""
        self.require_same_origin(self.services.config.address)
        cookie, token = self.cookies.get(_FORM_COOKIE, ""), self.form.get("csrf_token", "")
        if not cookie or not hmac.compare_digest(self.form_token(cookie).encode(), token.encode()):
            raise ForgedRequest

    def form_token(self, cookie: str) -> str:
        """Compute the token that goes with the form cookie."""
        return hmac.digest(self.services.pepper.get().form_key, cookie.encode(), "sha256").hex()


type Handler = Callable[[Visit], func.HttpResponse]


def answer(
    services: Services,
    request: func.HttpRequest,
    handler: Handler,
    *,
    speaks: Literal["html", "json"] = "html",
) -> func.HttpResponse:
    """Run a handler, and turn whatever it raises into an answer in the language of the door.

    Then notice, behind the answer, whether the renewal of the certificate needs a hand.
    """
    visit = Visit(services, request, new_reference())
    try:
        response = handler(visit)
    except Exception as error:  # noqa: BLE001 - the last line of defence: nobody is left with an empty 500
        from functions import failures

        failures.record(visit, error)
        response = failures.failure(visit, error, speaks)
    services.watch.glance()
    return response


def new_reference() -> str:
    """Make a number that a person can read out on the telephone, such as 7F3K-9QX2-B4MD."""
    number, letters = secrets.randbelow(len(_REFERENCE_LETTERS) ** 12), ""
    for _ in range(12):
        number, index = divmod(number, len(_REFERENCE_LETTERS))
        letters += _REFERENCE_LETTERS[index]
    return f"{letters[:4]}-{letters[4:8]}-{letters[8:]}"


def page(
    visit: Visit,
    name: str,
    /,
    *,
    status: int = 200,
    cookies: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    form_targets: Iterable[str] = (),
    **context: object,
) -> func.HttpResponse:
    """Answer with a page, under the strictest policy that it works with.

    `form_targets` are the origins that its forms lead to, beside ours and the application's: where a form's answer
    redirects to counts as well (CSP 3, form-action).
    """
    from functions.pages import render

    config = visit.services.config
    targets = " ".join(dict.fromkeys(["'self'", config.app_origin, *form_targets]))
    policy = (
        f"default-src 'none'; style-src 'self'; img-src 'self'; form-action {targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return respond(
        visit,
        render(name, **context),
        status=status,
        cookies=cookies,
        headers={
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Frame-Options": "DENY",
            **(headers or {}),
        },
        media_type="text/html",
    )


def form_page(
    visit: Visit,
    name: str,
    /,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,  # noqa: ANN401 - whatever the template asks for
) -> func.HttpResponse:
    """Answer with a page that holds a form of ours."""
    cookie = visit.cookies.get(_FORM_COOKIE, "")
    if not _FORM_COOKIE_VALUE.fullmatch(cookie):
        cookie = random_id()
    return page(
        visit,
        name,
        status=status,
        headers=headers,
        cookies=[set_cookie(_FORM_COOKIE, cookie)],
        csrf_token=visit.form_token(cookie),
        **context,
    )


def redirect(
    visit: Visit, url: str, *, status: int = HTTPStatus.SEE_OTHER, cookies: Iterable[str] = ()
) -> func.HttpResponse:
    """Send the browser on. `url` is ours, the application's or Microsoft's: never taken from a request unchecked."""
    return respond(visit, "", status=status, cookies=cookies, headers={"Location": url})


def respond(
    visit: Visit,
    body: str | bytes,
    *,
    status: int = 200,
    cookies: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    media_type: str = "text/plain",
) -> func.HttpResponse:
    """Answer with the headers that every answer of ours has."""
    secure = {"Strict-Transport-Security": "max-age=63072000"} if visit.services.config.is_https else {}
    response = func.HttpResponse(
        body,
        status_code=status,
        mimetype=media_type,
        headers={
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            # Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
            "Referrer-Policy": "same-origin",
            **secure,
            **(headers or {}),
        },
    )
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    return response


def json_answer(
    visit: Visit,
    body: Mapping[str, object],
    *,
    status: int = 200,
    cookies: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    """Answer a program."""
    return respond(
        visit,
        json.dumps(body),
        status=status,
        cookies=cookies,
        headers=headers,
        media_type="application/json",
    )


def set_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None = None,
    same_site: Literal["Lax", "None"] = "Lax",
) -> str:
    """Write a Set-Cookie. Without `max_age` (seconds) the cookie goes when the browser closes; 0 removes it."""
    lifetime = "" if max_age is None else f"; Max-Age={max_age}"
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{lifetime}"


def with_query(path: str, **values: str) -> str:
    """Add the values that are not empty to a path."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path
