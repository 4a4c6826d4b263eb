"""`/session`, `/logout`, `/logout/microsoft` and the key set: who is signed in, and the end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import azure.functions as func

from functions.current import current, microsoft_sign_out, presented
from functions.http import SESSION_COOKIE, Visit, answer, json_answer, page, redirect, respond, set_cookie
from shared.errors import BadRequest, InvalidSession, UpstreamUnavailable

if TYPE_CHECKING:
    from shared.services import Services


def doors(services: Services) -> func.Blueprint:
    """What applications and proxies ask, and the two ways to sign out."""
    blueprint = func.Blueprint()

    @blueprint.function_name("session")
    @blueprint.route(route="session", methods=["GET"])
    def session(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _session, speaks="json")

    @blueprint.function_name("logout")
    @blueprint.route(route="logout", methods=["POST"])
    def logout(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _logout)

    @blueprint.function_name("logout_microsoft")
    @blueprint.route(route="logout/microsoft", methods=["GET"])
    def logout_microsoft(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _logout_microsoft, speaks="json")

    @blueprint.function_name("jwks")
    @blueprint.route(route=".well-known/jwks.json", methods=["GET"])
    def jwks(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _jwks, speaks="json")

    return blueprint


def _session(visit: Visit) -> func.HttpResponse:
    """Say who is signed in, as JSON and as headers that a proxy can hand to the application."""
    try:
        here = current(visit)
    except InvalidSession as error:
        # `Cookie` is no registered scheme; RFC 9110 (section 11.6.1) wants one named on every 401.
        challenge = {"WWW-Authenticate": 'Cookie realm="sos"'}
        refusal = {"error": error.code, "login": f"{visit.services.config.address}/login"}
        return json_answer(visit, refusal, status=401, headers=challenge)
    session = here.session
    body: dict[str, object] = {
        "account": session.account_id,
        "level": session.level.slug,
        "name": session.name,
        "method": session.method.value,
        "auth_time": int(session.auth_time.timestamp()),
        "expires_at": int(session.expires_at.timestamp()),
    }
    headers = {
        "X-SOS-Account": session.account_id,
        "X-SOS-Level": session.level.slug,
        "X-SOS-Name": quote(session.name),  # percent-encoded UTF-8: a header is ASCII
        "X-SOS-Method": session.method.value,
    }
    return json_answer(visit, body, headers=headers, cookies=here.cookies)


def _logout(visit: Visit) -> func.HttpResponse:
    """End the session here, and go on to end it at Microsoft where it came from: wards share computers."""
    from shared import session
    from shared.access import AuthenticationMethod
    from shared.audit import Event

    services = visit.services
    config = services.config
    visit.require_same_origin(config.address, config.app_origin)
    gone = [set_cookie(SESSION_COOKIE, "", max_age=0)]
    try:
        found = presented(visit)
        session.end(services.store, found.id)
    except InvalidSession:
        return _signed_out(visit, gone)
    except UpstreamUnavailable as error:
        # This computer forgets the session all the same; the page says that the server could not.
        from functions import failures

        failures.record(visit, error)
        return failures.failure(visit, error, cookies=gone)
    services.audit.record(
        Event("signout", services.clock(), visit.reference, found.account_id, found.method.value)
    )
    if found.method is not AuthenticationMethod.MICROSOFT:
        return _signed_out(visit, gone)
    url = microsoft_sign_out(services)
    return redirect(visit, url, cookies=gone) if url else _signed_out(visit, gone, still_at_microsoft=True)


def _signed_out(visit: Visit, cookies: list[str], *, still_at_microsoft: bool = False) -> func.HttpResponse:
    return page(
        visit, "signed_out", cookies=cookies, signin_url="/login", still_at_microsoft=still_at_microsoft
    )


def _logout_microsoft(visit: Visit) -> func.HttpResponse:
    """End the sessions that came from one session of Microsoft (OpenID Connect Front-Channel Logout 1.0).

    The cookie stays: in a frame of Microsoft's page it can be neither read nor removed. Its token is good for 10 minutes.
    """
    from shared import session
    from shared.audit import Event

    services = visit.services
    sid, issuer = visit.query("sid"), visit.query("iss")
    application = services.settings.get().application
    if not sid or issuer != services.identity.metadata(application).issuer:
        raise BadRequest("front_channel_logout")
    for account_id in session.end_provider_session(services.store, sid):
        event = Event("signout", services.clock(), visit.reference, account_id, reason="front_channel")
        services.audit.record(event)
    return respond(visit, "")


def _jwks(visit: Visit) -> func.HttpResponse:
    """Publish the keys. A key is published two days before it signs, so an hour in a cache does no harm."""
    keys = visit.services.key_ring.get().public_jwks()
    headers = {"Cache-Control": "public, max-age=3600", "Access-Control-Allow-Origin": "*"}
    return json_answer(visit, keys, headers=headers)
