"""What each error becomes: a line in the log, a status, and a page that says what to do. Loaded when something fails."""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal

from functions.http import Visit, json_answer, page
from functions.pages import Action
from shared import errors
from shared.audit import Event
from shared.diagnosis import Way, diagnose

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    import azure.functions as func

_log = logging.getLogger("sos")

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
    errors.CertificateExpired: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UpstreamUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Conflict: HTTPStatus.CONFLICT,
}
_STATUS_OF_KIND: Final = {
    "not_found": HTTPStatus.NOT_FOUND,
    "method": HTTPStatus.METHOD_NOT_ALLOWED,
    "too_large": HTTPStatus.CONTENT_TOO_LARGE,
    "media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
_WAYS: Final = {
    Way.TRY_AGAIN: ("Try again", "/login"),
    Way.OTHER_ACCOUNT: ("Use another account", "/login?prompt=select_account"),
    Way.PASSWORD: ("Sign in with a password", "/signin"),
    Way.HOME: ("Go to the start page", "/"),
}


def status_of(error: Exception) -> HTTPStatus:
    """Give the HTTP status of an error: that of its nearest kind in the table."""
    if isinstance(error, errors.BadRequest):
        return _STATUS_OF_KIND.get(error.kind, HTTPStatus.BAD_REQUEST)
    kinds = type(error).__mro__
    return next((_STATUS[kind] for kind in kinds if kind in _STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def failure(
    visit: Visit, error: Exception, speaks: Literal["html", "json"] = "html", *, cookies: Iterable[str] = ()
) -> func.HttpResponse:
    """Answer an error: a page for a person, or JSON for a program."""
    status, headers = status_of(error), retry_after(getattr(error, "retry_after", None))
    if speaks == "json":
        code = error.code if isinstance(error, errors.SignInError) else "internal_error"
        body = {"error": code, "reference": visit.reference}
        return json_answer(visit, body, status=status, headers=headers, cookies=cookies)
    told = diagnose(error)
    return page(
        visit,
        "message",
        status=status,
        headers=headers,
        cookies=cookies,
        title=told.title,
        what=told.what,
        who=told.who,
        now=list(told.now),
        reference=visit.reference,
        actions=[Action(*_WAYS[way], primary=index == 0) for index, way in enumerate(told.ways)],
        tone=told.tone,
    )


def retry_after(wait: timedelta | None) -> dict[str, str]:
    """Write the header `Retry-After` (RFC 9110, section 10.2.3) in whole seconds, rounded up; nothing without a wait."""
    return {} if wait is None else {"Retry-After": str(max(1, -int(-wait.total_seconds() // 1)))}


def record(visit: Visit, error: Exception) -> None:
    """Write a refusal or a failure to the log and the audit table."""
    services, now = visit.services, visit.services.clock()
    if not isinstance(error, errors.SignInError):
        # Where, not what: the text of an unknown error may hold anything.
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames)
        )
        kind = type(error).__name__
        event = Event("internal_error", now, visit.reference, reason=kind, where=where, warning=True)
        services.audit.record(event)
        return
    name, reason, warning, account_id = "signin.refused", error.code, False, ""
    match error:
        case errors.WrongCredentials():
            return  # written where it happened
        case errors.BadRequest() | errors.InvalidSession() | errors.CertificateExpired():
            # Strangers can make any number of these: they stand in the log, and take no room in the store.
            name = (
                "request.refused"
                if not isinstance(error, errors.CertificateExpired)
                else "certificate.expired"
            )
            event = Event(
                name, now, visit.reference, reason=f"{reason}:{getattr(error, 'kind', '')}".rstrip(":")
            )
            _log.info(event.line())
            return
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
    services.audit.record(Event(name, now, visit.reference, account_id, reason=reason, warning=warning))
