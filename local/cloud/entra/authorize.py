"""The authorization endpoint: who is this, may they, and the answer to the application.

An error goes back to the application only when the client and its redirect URI are known (RFC 6749, section
4.1.2.1); a person who is not assigned sees a page of Entra's own.
"""

import re
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from hmac import compare_digest
from typing import Final
from urllib.parse import urlencode, urlsplit

from local.cloud.entra import pages
from local.cloud.entra.errors import EntraError, PageError, invalid_request, parameter_missing
from local.cloud.entra.sessions import SignedIn
from local.cloud.entra.state import Person
from local.cloud.entra.tenant import Tenant, correlation_id
from local.cloud.entra.tokens import Grant, client_info, login_hint
from local.cloud.web import Headers, Request, Response, page_response, redirect

_PROMPTS: Final = ("", "none", "login", "select_account", "consent")
_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """An authorization request whose client and redirect URI are known."""

    request: Request
    parameters: dict[str, str]

    def get(self, name: str) -> str:
        return self.parameters.get(name, "")

    def page_action(self, tenant: Tenant, step: str) -> str:
        """Where a page of ours posts to; the request travels along in the query."""
        return f"/{tenant.state.application.tenant_id}/{step}?{urlencode(self.parameters)}"


def authorize(tenant: Tenant, request: Request) -> Response:
    """Answer GET and POST of the authorization endpoint."""
    asked = _read(tenant, request, {**request.query, **request.form()})
    try:
        _check(asked)
        session = _silent(tenant, asked)
        if session:
            return _admit(tenant, asked, session, ())
        hinted = _hinted(tenant, asked)
        if hinted:
            return page_response(pages.password(asked.page_action(tenant, "login"), hinted.username))
    except EntraError as error:
        return _send_error(tenant, asked, error)
    application, people = tenant.state.application, list(tenant.state.people.values())
    return page_response(pages.pick(asked.page_action(tenant, "login"), application.name, people))


def sign_in(tenant: Tenant, request: Request) -> Response:
    """Answer the form with an account, and with its password."""
    asked = _read(tenant, request, dict(request.query))
    form = request.form()
    username, action = form.get("account", "").strip().lower(), asked.page_action(tenant, "login")
    person = tenant.state.people.get(username)
    if person is None:
        text = f"The user account '{username}' does not exist in this directory."
        raise PageError(50034, "invalid_request", text)
    session = tenant.sessions.find(request, username)
    if "password" not in form:
        known = session and asked.get("prompt") != "login" and _fresh_enough(tenant, asked, session)
        if session is None or not known:
            return page_response(pages.password(action, username))
        headers: Headers = ()
    elif not compare_digest(form["password"].encode(), person.password.encode()):
        problem = "Your account or password is incorrect. (AADSTS50126)"
        return page_response(pages.password(action, username, problem))
    else:
        session, headers = tenant.sessions.start(request, username, tenant.clock.now())
    return _admit_or_refuse(tenant, asked, session, headers)


def decide_consent(tenant: Tenant, request: Request) -> Response:
    """Answer the consent page."""
    asked = _read(tenant, request, dict(request.query))
    form = request.form()
    session = tenant.sessions.find(request, form.get("account", ""))
    if session is None:
        return authorize(tenant, replace(request, body=b""))
    if form.get("decision") == "accept" and tenant.state.application.consent != "admin_required":
        tenant.state.change_person(session.username, {"consented": True})
        asked = replace(asked, parameters={**asked.parameters, "prompt": ""})
        return _admit_or_refuse(tenant, asked, session, ())
    if tenant.state.application.consent == "admin_required":
        text = "The application needs permissions that only an administrator can grant."
        return _send_error(tenant, asked, EntraError(90094, "access_denied", text))
    return _send_error(
        tenant, asked, EntraError(65004, "access_denied", "User declined to consent to access the app.")
    )


def _read(tenant: Tenant, request: Request, parameters: dict[str, str]) -> _Asked:
    tenant.require_tenant(request)
    tenant.require_client(parameters.get("client_id", ""))
    redirect_uri = parameters.get("redirect_uri", "")
    if redirect_uri not in tenant.state.application.redirect_uris:
        text = f"The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs "
        raise PageError(50011, "invalid_request", f"{text}configured for the application.")
    return _Asked(request, parameters)


def _check(asked: _Asked) -> None:
    if asked.get("response_mode") not in {"", "query", "form_post"}:
        name = "Unsupported 'response_mode' value."
        raise invalid_request(name)
    if not asked.get("response_type"):
        name = "response_type"
        raise parameter_missing(name)
    if asked.get("response_type") != "code":
        text = f"response_type '{asked.get('response_type')}' is not enabled for the application."
        raise EntraError(700054, "unsupported_response_type", text)
    if "openid" not in asked.get("scope").split():
        name = "scope"
        raise parameter_missing(name)
    if asked.get("prompt") not in _PROMPTS:
        name = "Unsupported 'prompt' value."
        raise invalid_request(name)
    if asked.get("prompt") == "select_account" and asked.get("login_hint"):
        name = "'prompt=select_account' and 'login_hint' cannot be combined."
        raise invalid_request(name)
    challenge = asked.get("code_challenge")
    if challenge and asked.get("code_challenge_method") != "S256":
        text = "Invalid Code_Challenge_method parameter."
        raise EntraError(50149, "invalid_request", text)
    if challenge and not _S256_CHALLENGE.fullmatch(challenge):
        text = "Invalid size of Code_Challenge parameter."
        raise EntraError(501491, "invalid_request", text)
    if asked.get("max_age") and not asked.get("max_age").isdecimal():
        name = "'max_age' is not a number of seconds."
        raise invalid_request(name)


def _silent(tenant: Tenant, asked: _Asked) -> SignedIn | None:
    """Find the one session that answers this request without a page."""
    if asked.get("prompt") in {"login", "select_account"}:
        return None
    sessions = tenant.sessions.of(asked.request)
    if asked.get("login_hint"):
        hinted = _hinted(tenant, asked)
        sessions = [s for s in sessions if hinted and s.username == hinted.username]
    sessions = [s for s in sessions if _fresh_enough(tenant, asked, s)]
    if asked.get("prompt") == "none" and not sessions:
        text = "A silent sign-in request was sent but no user is signed in."
        raise EntraError(50058, "login_required", text)
    if asked.get("prompt") == "none" and len(sessions) > 1:
        text = "Several users are signed in; one must be selected."
        raise EntraError(16000, "interaction_required", text)
    return sessions[0] if len(sessions) == 1 else None


def _fresh_enough(tenant: Tenant, asked: _Asked, session: SignedIn) -> bool:
    max_age = asked.get("max_age")
    return not max_age or tenant.clock.now() - session.auth_time <= timedelta(seconds=int(max_age))


def _hinted(tenant: Tenant, asked: _Asked) -> Person | None:
    hint = asked.get("login_hint")
    people = tenant.state.people.values()
    return next((p for p in people if hint and hint in {p.username, login_hint(p)}), None)


def _admit_or_refuse(tenant: Tenant, asked: _Asked, session: SignedIn, headers: Headers) -> Response:
    try:
        _check(asked)
        return _admit(tenant, asked, session, headers)
    except EntraError as error:
        answer = _send_error(tenant, asked, error)
        return replace(answer, headers=answer.headers + headers)


def _admit(tenant: Tenant, asked: _Asked, session: SignedIn, headers: Headers) -> Response:
    """Answer with a code, unless policy, assignment or consent is in the way."""
    person, application = tenant.state.people[session.username], tenant.state.application
    if person.blocked_by_conditional_access:
        raise EntraError(53003, "access_denied", "Access has been blocked by Conditional Access policies.")
    if person.second_factor_missing:
        text = "You must use multi-factor authentication to access this application."
        raise EntraError(50076, "interaction_required", text)
    if application.assignment_required and not person.assigned:
        text = f"The signed in user '{person.username}' is not assigned to a role for the application."
        kind = EntraError if application.assignment_error_to_callback else PageError
        raise kind(50105, "access_denied", text)
    admin = application.consent == "admin_required"
    missing = admin or (application.consent == "required" and not person.consented)
    if missing and asked.get("prompt") == "none":
        text = "The user or administrator has not consented to use the application."
        raise EntraError(65001, "interaction_required", text)
    if missing or asked.get("prompt") == "consent":
        action = asked.page_action(tenant, "consent")
        html = pages.consent(action, application.name, person.username, admin=admin)
        return page_response(html, headers=headers)
    code = f"1.{secrets.token_urlsafe(64)}"
    tenant.grants[code] = Grant(
        username=person.username,
        redirect_uri=asked.get("redirect_uri"),
        scope=asked.get("scope"),
        nonce=asked.get("nonce"),
        code_challenge=asked.get("code_challenge"),
        sid=session.sid,
        auth_time=session.auth_time,
        issued=tenant.clock.now(),
    )
    tenant.sessions.enter_application(session)
    answer = {"code": code}
    if asked.get("client_info"):
        answer["client_info"] = client_info(person, application.tenant_id)
    return _send(asked, answer | {"session_state": session.sid}, headers)


def _send_error(tenant: Tenant, asked: _Asked, error: EntraError) -> Response:
    if isinstance(error, PageError):
        return show_error(tenant, asked.request, error)
    document = error.document(tenant.clock.now(), correlation_id(asked.request), tenant.browser_url)
    return _send(asked, {name: document[name] for name in ("error", "error_description", "error_uri")}, ())


def _send(asked: _Asked, answer: dict[str, str], headers: Headers) -> Response:
    if "state" in asked.parameters:
        answer["state"] = asked.get("state")
    target = asked.get("redirect_uri")
    if asked.get("response_mode") == "form_post":
        return page_response(pages.form_post(target, answer), headers=headers)
    return redirect(f"{target}{'&' if urlsplit(target).query else '?'}{urlencode(answer)}", headers)


def show_error(tenant: Tenant, request: Request, error: EntraError) -> Response:
    """Show a page of Entra's own."""
    document = error.document(tenant.clock.now(), correlation_id(request), tenant.browser_url)
    return page_response(pages.error_page(document), error.status)
