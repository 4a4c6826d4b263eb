"""`/signin`: the password door. Always open to the Owner; to everybody while SSO is not active."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import azure.functions as func

from functions.current import destination, known_browser, session_cookie
from functions.http import DEVICE_COOKIE, Visit, answer, form_page, redirect, with_query
from shared.errors import SignInError, TooManyAttempts, WrongCredentials

if TYPE_CHECKING:
    from shared.services import Services

_CLOSED = (
    "There were too many wrong passwords for this user name. Use a browser that has signed in with it before, or ask the "
    "engineer to open it again."
)
_REFUSED = "The user name or the password is wrong, or this account does not sign in with a password."


def doors(services: Services) -> func.Blueprint:
    """The form and its answer."""
    blueprint = func.Blueprint()

    @blueprint.function_name("signin")
    @blueprint.route(route="signin", methods=["GET", "POST"])
    def signin(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _attempt if req.method == "POST" else _form)

    return blueprint


def _form(visit: Visit) -> func.HttpResponse:
    return _page(visit, visit.query("next"))


def _attempt(visit: Visit) -> func.HttpResponse:
    from shared.next_path import local_path
    from shared.password_signin import Credentials, sign_in
    from shared.secret import Secret

    visit.require_own_form()
    form = visit.form
    typed = Credentials(
        user_name=form.get("username", ""),
        password=Secret(form.get("password", "")),
        client_address=visit.client_address,
        device_cookie=visit.cookies.get(DEVICE_COOKIE, ""),
    )
    try:
        admitted = sign_in(visit.services, typed, visit.reference)
    except (WrongCredentials, TooManyAttempts) as error:
        from functions import failures

        failures.record(visit, error)
        return _page(visit, form.get("next", ""), form.get("username", ""), error)
    cookies = [session_cookie(visit, admitted.session), known_browser(admitted.device_cookie)]
    return redirect(visit, destination(visit, local_path(form.get("next", ""))), cookies=cookies)


def _page(
    visit: Visit, next_path: str, user_name: str = "", error: SignInError | None = None
) -> func.HttpResponse:
    from shared.next_path import local_path

    safe_next = local_path(next_path)
    sso_active = visit.services.settings.get().sso_active
    status, headers, wait, refusal = _told(error)
    return form_page(
        visit,
        "signin",
        status=status,
        headers=headers,
        next=safe_next,
        username=user_name[:128],
        error=refusal,
        wait=wait,
        reference=visit.reference,
        sso_active=sso_active,
        microsoft_url=with_query("/login", next=safe_next) if sso_active else None,
        address=urlsplit(visit.services.config.address).netloc,
    )


def _told(error: SignInError | None) -> tuple[int, dict[str, str], str | None, str | None]:
    """Say what the form says of the last try: status, headers, how long to wait, why it was refused."""
    if error is None:
        return 200, {}, None, None
    from functions.failures import retry_after, status_of
    from shared.diagnosis import minutes_and_seconds

    if isinstance(error, TooManyAttempts) and error.closed:
        return status_of(error), {}, None, _CLOSED
    if isinstance(error, TooManyAttempts):
        wait = minutes_and_seconds(error.retry_after.total_seconds())
        return status_of(error), retry_after(error.retry_after), wait, None
    return status_of(error), {}, None, _REFUSED
