"""From a request to an answer: cookies, forms, cross-site checks, headers, and the one table from errors to statuses.

Every door goes through `answer`, so that whatever happens inside becomes a page with a reference number that stands in
the log: never a stack trace, never an empty 500.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import traceback
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, urlencode

import azure.functions as func

from functions.pages import Action, render
from shared import errors
from shared.diagnosis import Way, diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.services import Services

_log = logging.getLogger("sos")

MAX_FORM_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 40
CSRF_COOKIE: Final = "__Host-sos-form"
_REFERENCE_LETTERS: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that look alike

_STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    errors.AuthorizationDenied: HTTPStatus.FORBIDDEN,
    errors.LoginRejected: HTTPStatus.BAD_REQUEST,
    errors.AccessDenied: HTTPStatus.FORBIDDEN,
    errors.WrongCredentials: HTTPStatus.FORBIDDEN,
    errors.WeakPassword: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ForgedRequest: HTTPStatus.FORBIDDEN,
    errors.InvalidSetupToken: HTTPStatus.FORBIDDEN,
    errors.InvalidSession: HTTPStatus.UNAUTHORIZED,
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.NotConfigured: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UpstreamUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Conflict: HTTPStatus.CONFLICT,
}
_STATUS_OF_KIND: Final = {
    "not_found": HTTPStatus.NOT_FOUND,
    "method": HTTPStatus.METHOD_NOT_ALLOWED,
    "too_large": HTTPStatus.CONTENT_TOO_LARGE,
    "media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


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
        for part in self.request.headers.get("cookie", "").split(";"):
            name, separator, value = part.strip().partition("=")
            if separator:
                found.setdefault(name, value)
        return found

    @cached_property
    def form(self) -> Mapping[str, str]:
        """The fields of an urlencoded form. Raises BadRequest for anything larger, other or ambiguous."""
        body = self.request.get_body()
        if len(body) > MAX_FORM_BYTES:
            raise errors.BadRequest("too_large")
        media_type = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            raise errors.BadRequest("media_type")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
            )
        except ValueError:
            raise errors.BadRequest("form") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise errors.BadRequest("form")
        return fields

    def query(self, name: str) -> str:
        """A value of the query; empty when it is absent."""
        return self.request.params.get(name, "")

    @property
    def client_address(self) -> str:
        """The address of the client as the platform saw it, without its port.

        The platform appends it to `X-Forwarded-For`; everything before the last comma is what the client claims.
        """
        last = self.request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        if last.startswith("["):
            return last[1:].partition("]")[0]
        return last.partition(":")[0] if last.count(":") == 1 else last

    def require_same_origin(self, *origins: str) -> None:
        """Raise ForgedRequest when the browser says that another site sent this request.

        `Origin` stands on every cross-site form post; `Sec-Fetch-Site` says the same where it was stripped.
        """
        origin = self.request.headers.get("origin", "")
        site = self.request.headers.get("sec-fetch-site", "")
        if origin:
            if origin not in origins:
                raise errors.ForgedRequest
        elif site not in {"", "same-origin", "none"}:
            raise errors.ForgedRequest

    def require_own_form(self) -> None:
        """Raise ForgedRequest unless a fresh page of ours sent this form."""
        self.require_same_origin(self.services.config.address)
        cookie, token = self.cookies.get(CSRF_COOKIE, ""), self.form.get("csrf_token", "")
        if not cookie or not hmac.compare_digest(self._csrf_token(cookie).encode(), token.encode()):
            raise errors.ForgedRequest

    def csrf(self) -> tuple[str, str]:
        """Give the token for a form, and the Set-Cookie that goes with it (signed double submit, OWASP)."""
        cookie = self.cookies.get(CSRF_COOKIE, "")
        if not (cookie.isascii() and cookie.replace("-", "").replace("_", "").isalnum() and len(cookie) < 64):  # noqa: PLR2004 - ours has 22
            cookie = secrets.token_urlsafe(16)
        return self._csrf_token(cookie), set_cookie(CSRF_COOKIE, cookie)

    def _csrf_token(self, cookie: str) -> str:
        return hmac.digest(self.services.pepper.get().form_key, cookie.encode(), "sha256").hex()

    def render_form(
        self,
        page: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: object,
    ) -> func.HttpResponse:
        """Answer with a page that holds a form."""
        token, cookie = self.csrf()
        body = render(page, csrf_token=token, **context)
        return html(self, body, status=status, cookies=[cookie], headers=headers)


type Handler = Callable[[Visit], func.HttpResponse]


def answer(
    services: Services, request: func.HttpRequest, handler: Handler, *, form: Literal["page", "json"] = "page"
) -> func.HttpResponse:
    """Run a handler, and turn whatever it raises into an answer in the form that the door speaks."""
    visit = Visit(services, request, new_reference())
    try:
        return handler(visit)
    except errors.SignInError as error:
        record(visit, error)
        return failure(visit, error, form)
    except Exception as error:  # noqa: BLE001 - the last line of defence: nobody is left with an empty 500
        # Where, not what: the text of an unknown error may hold anything.
        where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        facts = {"event": "internal_error", "reference": visit.reference, "reason": type(error).__name__, "where": where}
        _log.error(json.dumps(facts))  # noqa: TRY400 - see above
        return failure(visit, error, form)


def new_reference() -> str:
    """Make a number that a person can read out on the telephone, such as 7F3K-9QX2-B4MD."""
    letters = [secrets.choice(_REFERENCE_LETTERS) for _ in range(12)]
    return "-".join("".join(letters[start : start + 4]) for start in (0, 4, 8))


def record(visit: Visit, error: errors.SignInError) -> None:
    """Write a refusal or a failure to the log and the audit table."""
    from shared.audit import Event

    name, warning = "signin.refused", False
    reason, account_id = error.code, ""
    match error:
        case errors.BadRequest() | errors.InvalidSession() | errors.WrongCredentials():
            return  # noise, or written where it happened
        case errors.UpstreamUnavailable():
            name, reason, warning = "upstream.unavailable", str(error), True
        case errors.NotConfigured():
            name, reason, warning = "not_configured", error.what, True
        case errors.TooManyAttempts():
            name, warning = "throttled", True
        case errors.AuthorizationDenied():
            reason = f"{error.code}:{error.error}:{','.join(map(str, error.aadsts))}"
        case errors.InvalidIdToken():
            reason, warning = f"{error.code}:{error.kind}", True
        case errors.AccessDenied():
            reason, account_id = error.reason, error.account_id
        case _:
            pass
    visit.services.audit.record(
        Event(name, visit.services.clock(), visit.reference, account_id, reason=reason, warning=warning)
    )


def status_of(error: Exception) -> HTTPStatus:
    """Give the HTTP status of an error: that of its nearest kind in the table."""
    if isinstance(error, errors.BadRequest):
        return _STATUS_OF_KIND.get(error.kind, HTTPStatus.BAD_REQUEST)
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def failure(visit: Visit, error: Exception, form: Literal["page", "json"] = "page") -> func.HttpResponse:
    """Answer an error: a page for a person, or JSON for a program."""
    status, headers = status_of(error), {}
    wait = getattr(error, "retry_after", None)
    if wait is not None:
        headers["Retry-After"] = str(max(1, -int(-wait.total_seconds() // 1)))
    if form == "json":
        code = error.code if isinstance(error, errors.SignInError) else "internal_error"
        return json_answer({"error": code, "reference": visit.reference}, status=status, headers=headers)
    told = diagnose(error)
    body = render(
        "message",
        title=told.title,
        what=told.what,
        who=told.who,
        now=list(told.now),
        reference=visit.reference,
        actions=[action(way, primary=index == 0) for index, way in enumerate(told.ways)],
        tone=told.tone,
    )
    return html(visit, body, status=status, headers=headers)


def action(way: Way, *, primary: bool) -> Action:
    """Give the link of a way on."""
    label, url = {
        Way.TRY_AGAIN: ("Try again", "/login"),
        Way.OTHER_ACCOUNT: ("Use another account", "/login?prompt=select_account"),
        Way.PASSWORD: ("Sign in with a password", "/signin"),
        Way.HOME: ("Go to the start page", "/"),
    }[way]
    return Action(label, url, primary=primary)


def html(
    visit: Visit,
    body: str,
    *,
    status: int = 200,
    cookies: list[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    """Answer with a page, under the strictest policy that it works with."""
    config = visit.services.config
    # A form's redirects count as its targets (CSP 3, section 6.4.2.1): signing out goes on to Microsoft, signing in
    # to the application.
    targets = " ".join(dict.fromkeys(["'self'", config.app_origin, config.authority_host]))
    policy = (
        f"default-src 'none'; style-src 'self'; img-src 'self'; form-action {targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return respond(
        visit,
        body,
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


def redirect(
    visit: Visit, url: str, *, status: int = HTTPStatus.SEE_OTHER, cookies: list[str] | None = None
) -> func.HttpResponse:
    """Send the browser on. `url` is ours, the application's or Microsoft's: never taken from the request unchecked."""
    return respond(visit, "", status=status, cookies=cookies, headers={"Location": url})


def respond(
    visit: Visit,
    body: str,
    *,
    status: int = 200,
    cookies: list[str] | None = None,
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
    for cookie in cookies or []:
        response.headers.add("Set-Cookie", cookie)
    return response


def json_answer(
    body: Mapping[str, object],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    """Answer a program."""
    return func.HttpResponse(
        json.dumps(body),
        status_code=status,
        mimetype="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
    )


def set_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None = None,
    same_site: Literal["Lax", "None"] = "Lax",
) -> str:
    """Write a Set-Cookie. Without `max_age` the cookie goes when the browser closes; 0 removes it."""
    lifetime = "" if max_age is None else f"; Max-Age={max_age}"
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{lifetime}"


def with_query(path: str, **values: str) -> str:
    """Add the values that are not empty to a path."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path
