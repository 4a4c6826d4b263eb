"""`/setup?token=`: first run, and recovery. The Owner chooses a password with a link that works once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import azure.functions as func

from functions.current import known_browser
from functions.http import Visit, answer, form_page, page
from shared.errors import WeakPassword

if TYPE_CHECKING:
    from shared.services import Services

_NOT_THE_SAME = "The two passwords are not the same. Type the new one twice."


def doors(services: Services) -> func.Blueprint:
    """The form and its answer."""
    blueprint = func.Blueprint()

    @blueprint.function_name("setup")
    @blueprint.route(route="setup", methods=["GET", "POST"])
    def setup(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _finish if req.method == "POST" else _form)

    return blueprint


def _form(visit: Visit) -> func.HttpResponse:
    return _page(visit, visit.query("token"))


def _finish(visit: Visit) -> func.HttpResponse:
    from shared import setup
    from shared.secret import Secret

    visit.require_own_form()
    form = visit.form
    password, again = form.get("password", ""), form.get("password_again", "")
    token, user_name = form.get("token", ""), form.get("username", "")
    if password != again:
        return _page(visit, token, user_name, WeakPassword((_NOT_THE_SAME,)))
    try:
        device_cookie = setup.finish(visit.services, token, user_name, Secret(password), visit.reference)
    except WeakPassword as error:
        return _page(visit, token, user_name, error)
    return page(visit, "setup_done", cookies=[known_browser(device_cookie)])


def _page(
    visit: Visit, token: str, user_name: str = "", error: WeakPassword | None = None
) -> func.HttpResponse:
    from shared.password import MIN_CHARACTERS
    from shared.setup import check_token

    owner = check_token(visit.services, token)
    return form_page(
        visit,
        "setup",
        status=422 if error else 200,
        token=token,
        username=owner.user_name if owner else user_name[:128],
        problems=list(error.problems) if error else [],
        minimum_length=MIN_CHARACTERS,
        recovery=owner is not None,
    )
