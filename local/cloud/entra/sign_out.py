"""The end-session endpoint, with front-channel sign-out (OpenID Connect Front-Channel Logout 1.0)."""

from urllib.parse import urlencode, urlsplit

from local.cloud.entra import pages
from local.cloud.entra.sessions import SignedIn
from local.cloud.entra.tenant import Tenant
from local.cloud.entra.tokens import login_hint
from local.cloud.web import Request, Response, page_response, redirect


def sign_out(tenant: Tenant, request: Request) -> Response:
    """End the hinted person's session, or all of this browser; tell the application; send the browser on."""
    tenant.require_tenant(request)
    parameters = {**request.query, **request.form()}
    ended = _ended(tenant, request, parameters.get("logout_hint", ""))
    tenant.sessions.end(request, ended)
    target = parameters.get("post_logout_redirect_uri", "")
    if target not in tenant.state.application.redirect_uris:
        target = ""
    elif "state" in parameters:
        target += ("&" if urlsplit(target).query else "?") + urlencode({"state": parameters["state"]})
    frames = [_frame(tenant, session) for session in ended if session.in_application]
    if target and not any(frames):
        return redirect(target)
    return page_response(pages.signed_out(target, [f for f in frames if f]))


def _ended(tenant: Tenant, request: Request, hint: str) -> list[SignedIn]:
    sessions = tenant.sessions.of(request)
    people = tenant.state.people
    hinted = [s for s in sessions if hint in {s.username, login_hint(people[s.username])}]
    return hinted or sessions


def _frame(tenant: Tenant, session: SignedIn) -> str:
    url = tenant.state.application.front_channel_logout_url
    query = urlencode({"sid": session.sid, "iss": tenant.issuer})
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}" if url else ""
