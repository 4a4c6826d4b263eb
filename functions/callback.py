"""`/azure`: the answer of Microsoft. A person who cannot be signed in is started again once, then told why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import azure.functions as func

from functions.current import current, destination, session_cookie
from functions.http import Visit, answer, page, redirect, set_cookie, with_query
from shared.errors import (
    BadRequest,
    InvalidSession,
    SignInError,
    StateMismatch,
    TransactionExpired,
    TransactionMissing,
    TransactionReplayed,
)

if TYPE_CHECKING:
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
        try:
            return redirect(visit, destination(visit, ""), cookies=current(visit).cookies)
        except InvalidSession:
            return page(visit, "signed_out", signin_url="/login", still_at_microsoft=False)
    from shared import callback, transaction

    state = received.get("state", "")
    used = [set_cookie(transaction.cookie_name(state), "", max_age=0, same_site="None")] if state else []
    try:
        finished = callback.finish(visit.services, received, visit.cookies, visit.reference)
    except SignInError as error:
        from functions import failures

        failures.record(visit, error)
        if isinstance(error, _STARTED_AGAIN) and not transaction.is_second_try(state):
            return redirect(visit, with_query("/login", again="1"), cookies=used)
        return failures.failure(visit, error, cookies=used)
    cookies = [session_cookie(visit, finished.session), *used]
    return redirect(visit, destination(visit, finished.next), cookies=cookies)
