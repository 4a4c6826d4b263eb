"""`/signin`: the password door. Always open to the Owner; to everybody while SSO is not active."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import azure.functions as func

from functions.current import destination, session_cookie
from functions.http import Visit, answer, record, redirect, set_cookie, status_of, with_query
from shared.errors import SignInError, TooManyAttempts, WrongCredentials

if TYPE_CHECKING:
    from shared.services import Services

_DEVICE_COOKIE = "__Host-sos-device"


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
    from shared import device
    from shared.next_path import local_path
    from shared.password_signin import Attempt, sign_in
    from shared.ports import Secret

    visit.require_own_form()
    form = visit.form
    attempt = Attempt(
        user_name=form.get("username", ""),
        password=Secret(form.get("password", "")),
        client_address=visit.client_address,
        device_cookie=visit.cookies.get(_DEVICE_COOKIE, ""),
    )
    try:
        admitted = sign_in(visit.services, attempt, visit.reference)
    except (WrongCredentials, TooManyAttempts) as error:
        record(visit, error)
        return _page(visit, form.get("next", ""), form.get("username", ""), error)
    known_for = int(device.LIFETIME.total_seconds())
    cookies = [
        session_cookie(visit, admitted.session),
        set_cookie(_DEVICE_COOKIE, admitted.device_cookie, max_age=known_for),
    ]
    return redirect(visit, destination(visit, local_path(form.get("next", ""))), cookies=cookies)


def _page(
    visit: Visit, next_path: str, user_name: str = "", error: SignInError | None = None
) -> func.HttpResponse:
    from shared.diagnosis import minutes_and_seconds
    from shared.next_path import local_path

    safe_next = local_path(next_path)
    sso_active = visit.services.settings.get().sso_active
    headers, wait, refused = {}, None, None
    if isinstance(error, TooManyAttempts):
        seconds = error.retry_after.total_seconds()
        wait, headers = minutes_and_seconds(seconds), {"Retry-After": str(max(1, round(seconds)))}
    elif error is not None:
        refused = "The user name or the password is wrong, or this account does not sign in with a password."
    return visit.render_form(
        "signin",
        status=status_of(error) if error else 200,
        headers=headers,
        next=safe_next,
        username=user_name[:128],
        error=refused,
        wait=wait,
        sso_active=sso_active,
        microsoft_url=with_query("/login", next=safe_next) if sso_active else None,
        address=urlsplit(visit.services.config.address).netloc,
    )
