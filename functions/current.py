"""Who is signed in, for the doors: the session of a request, renewed when it is time, and its cookie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from functions.http import DEVICE_COOKIE, SESSION_COOKIE, set_cookie

if TYPE_CHECKING:
    from functions.http import Visit
    from shared.services import Services
    from shared.session import Session


@dataclass(frozen=True, slots=True)
class Current:
    """A live session, and the cookies to send along: none, or its next token."""

    session: Session
    cookies: list[str]


def current(visit: Visit) -> Current:
    """Find the session of a request. Raises InvalidSession(kind) when there is none, or it is over.

    A fresh token is believed without a call. Past half its life it is renewed from its row; while the store is away it
    stays good to its end. An expired one is only as good as its row.
    """
    from shared.errors import UpstreamUnavailable

    services, now = visit.services, visit.services.clock()
    found = presented(visit)
    if not found.wants_renewal(now):
        return Current(found, [])
    try:
        from shared import session

        settings = services.settings.get()
        renewed = session.renew(
            services.store, found.id, now, sso_active=settings.sso_active, admin_role=settings.admin_role
        )
    except UpstreamUnavailable:
        if now >= found.expires_at:
            raise
        return Current(found, [])
    return Current(renewed, [session_cookie(visit, renewed)])


def presented(visit: Visit) -> Session:
    """Read the token that a request brought, be it expired. Raises InvalidSession(kind)."""
    from shared.errors import InvalidSession

    token = visit.cookies.get(SESSION_COOKIE, "")
    if not token:  # before the import: most who come to sign in bring none
        raise InvalidSession("missing")
    from shared import session

    services = visit.services
    ring, now = services.key_ring.get(), services.clock()
    try:
        return session.read_token(token, ring, services.issuer, now, allow_expired=True)
    except InvalidSession as error:
        if error.kind != "unknown_key":
            raise
    return session.read_token(token, services.newer_key_ring(ring), services.issuer, now, allow_expired=True)


def session_cookie(visit: Visit, made: Session) -> str:
    """Write the cookie of a session. It goes when the browser closes: wards share computers."""
    from shared import session

    services = visit.services
    token = session.write_token(made, services.key_ring.get(), services.issuer, services.clock())
    return set_cookie(SESSION_COOKIE, token)


def known_browser(device_cookie: str) -> str:
    """Write the cookie that marks a browser as one that the account's holder has used."""
    from shared import device

    return set_cookie(DEVICE_COOKIE, device_cookie, max_age=int(device.LIFETIME.total_seconds()))


def microsoft_sign_out(services: Services) -> str:
    """Give Microsoft's sign-out (OpenID Connect RP-Initiated Logout 1.0), or nothing while it is out of reach."""
    from shared.errors import SignInError

    try:
        metadata = services.identity.metadata(services.settings.get().application)
    except SignInError:
        return ""
    if not metadata.end_session_endpoint:
        return ""
    return f"{metadata.end_session_endpoint}?{urlencode({'post_logout_redirect_uri': services.config.redirect_uri})}"


def destination(visit: Visit, next_path: str) -> str:
    """Say where a person goes who is signed in: where they wanted to, the application, or our start page."""
    config = visit.services.config
    if next_path and config.app_origin != config.address:
        return f"{config.app_origin}{next_path}"
    return next_path or config.app_url or "/"
