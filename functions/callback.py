"""`/azure`: the answer of Microsoft. A person who cannot be signed in is started again once, then told why."""

from __future__ import annotations

import azure.functions as func

from functions.current import destination, session_cookie
from functions.http import Visit, answer, failure, html, record, redirect, set_cookie, with_query
from functions.pages import render
from shared.errors import (
    BadRequest,
    LoginRejected,
    StateMismatch,
    TransactionExpired,
    TransactionMissing,
    TransactionReplayed,
)
from shared.services import Services

_STARTED_AGAIN = (TransactionMissing, TransactionExpired, TransactionReplayed, StateMismatch)
"""A stale tab, the Back button, a lost cookie: most often a new try just works, or there is a session already."""


def doors(services: Services) -> func.Blueprint:
    """The redirect URI."""
    blueprint = func.Blueprint()

    @blueprint.function_name("callback")
    @blueprint.route(route="azure", methods=["GET", "POST"])
    def callback(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _callback)

    return blueprint


def _callback(visit: Visit) -> func.HttpResponse:
    posted = visit.request.method == "POST"
    received = visit.form if posted else visit.request.params
    if "code" not in received and "error" not in received:
        if posted:
            raise BadRequest("form")
        # Microsoft sends people back here from its sign-out: the one address that is surely registered.
        return html(visit, render("signed_out", signin_url="/login", microsoft_signout_url=None))
    from shared import signin, transaction

    state = received.get("state", "")
    used = [set_cookie(transaction.cookie_name(state), "", max_age=0, same_site="None")] if state else []
    try:
        finished = signin.finish(visit.services, received, visit.cookies, visit.reference)
    except _STARTED_AGAIN as error:
        record(visit, error)
        if transaction.is_second_try(state):
            return _with_cookies(failure(visit, error), used)
        return redirect(visit, with_query("/login", again="1"), cookies=used)
    except LoginRejected as error:
        record(visit, error)
        return _with_cookies(failure(visit, error), used)
    cookies = [session_cookie(visit, finished.session), *used]
    return redirect(visit, destination(visit, finished.next), cookies=cookies)


def _with_cookies(response: func.HttpResponse, cookies: list[str]) -> func.HttpResponse:
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    return response
