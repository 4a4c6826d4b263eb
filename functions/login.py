"""`/` and `/login`: to the application when signed in, else to Microsoft, else to the password door."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import azure.functions as func

from functions.current import current, destination, microsoft_sign_out
from functions.http import Visit, answer, page, redirect, set_cookie, with_query
from shared.errors import BadRequest, InvalidSession

if TYPE_CHECKING:
    from shared.services import Services


def doors(services: Services) -> func.Blueprint:
    """The start page and the start of a sign-in."""
    blueprint = func.Blueprint()

    @blueprint.function_name("home")
    @blueprint.route(route="/", methods=["GET"])
    def home(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _home)

    @blueprint.function_name("login")
    @blueprint.route(route="login", methods=["GET"])
    def login(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _login)

    return blueprint


def _home(visit: Visit) -> func.HttpResponse:
    config = visit.services.config
    try:
        here = current(visit)
    except InvalidSession:
        return redirect(visit, "/login")
    # Where the application has this very address, a proxy sends "/" there: who arrives here would go in circles.
    if config.app_is_elsewhere:
        return redirect(visit, config.app_url, cookies=here.cookies)
    session = here.session
    return page(
        visit,
        "landing",
        cookies=here.cookies,
        form_targets=_origin_of(microsoft_sign_out(visit.services)),
        name=session.name,
        level=session.level.name.title(),
        method={"microsoft": "Microsoft", "password": "password"}[session.method.value],
        since=f"{session.auth_time:%d %B %Y, %H:%M} UTC",
    )


def _origin_of(url: str) -> list[str]:
    parts = urlsplit(url)
    return [f"{parts.scheme}://{parts.netloc}"] if url else []


def _login(visit: Visit) -> func.HttpResponse:
    from shared import signin, transaction
    from shared.next_path import local_path

    next_path = local_path(visit.query("next"))
    other_account = visit.query("prompt") == "select_account"
    hints = signin.Hints(
        # Who asks for another account names none: Microsoft refuses the two together.
        login_hint="" if other_account else visit.query("login_hint")[:256],
        domain_hint=visit.query("domain_hint")[:256],
        prompt="select_account" if other_account else "",
    )
    if not other_account:
        try:
            here = current(visit)
        except InvalidSession:
            pass
        else:
            return redirect(visit, destination(visit, next_path), cookies=here.cookies)
    if not visit.services.settings.get().sso_active:
        return redirect(visit, with_query("/signin", next=next_path))
    if visit.header("sec-fetch-dest") not in {"", "document"}:
        # An image or a script of another page must not fill the browser with transactions; a program gets an answer.
        raise BadRequest("not_a_page")
    started = signin.start(visit.services, next_path, hints, second_try=visit.query("again") == "1")
    lifetime = int(transaction.LIFETIME.total_seconds())
    dropped = signin.transactions_to_drop(visit.services, visit.cookies)
    cookies = [set_cookie(started.cookie_name, started.cookie, max_age=lifetime, same_site="None")]
    cookies += [set_cookie(name, "", max_age=0, same_site="None") for name in dropped]
    return redirect(visit, started.url, status=302, cookies=cookies)
