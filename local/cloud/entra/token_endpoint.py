"""The token endpoint: authorization codes and client credentials, for a client that proves a certificate."""

import hashlib
import secrets
from dataclasses import replace

from local.cloud.encoding import to_base64url
from local.cloud.entra.assertion import ASSERTION_TYPE, CERTIFICATE_ERRORS, check_assertion
from local.cloud.entra.errors import EntraError, parameter_missing
from local.cloud.entra.tenant import Tenant
from local.cloud.entra.tokens import CODE_LIFETIME, TOKEN_LIFETIME, Grant, client_info, id_token
from local.cloud.web import Json, Request, Response, json_response


def token(tenant: Tenant, request: Request) -> Response:
    """Answer a token request (RFC 6749, sections 4.1.3 and 4.4.2)."""
    tenant.require_tenant(request)
    form = request.form()
    for name in ("grant_type", "client_id"):
        if name not in form:
            raise parameter_missing(name)
    tenant.require_client(form["client_id"])
    # The client is authenticated before the code is looked at: a failed assertion does not use the code up.
    _authenticate_client(tenant, form)
    match form["grant_type"]:
        case "authorization_code":
            return json_response(_redeem(tenant, form))
        case "client_credentials":
            return json_response(_client_credentials(tenant, form))
        case other:
            text = f"The app requested an unsupported grant type '{other}'."
            raise EntraError(70003, "unsupported_grant_type", text)


def _authenticate_client(tenant: Tenant, form: dict[str, str]) -> None:
    delay = tenant.replicas.next_delay()
    if tenant.forced_errors:
        number = tenant.forced_errors.pop(0)
        raise EntraError(number, "invalid_client", CERTIFICATE_ERRORS[number])
    if "client_secret" in form:
        raise EntraError(7000215, "invalid_client", "Invalid client secret provided.")
    if "client_assertion" not in form or form.get("client_assertion_type") != ASSERTION_TYPE:
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise EntraError(7000218, "invalid_client", text)
    check_assertion(
        form["client_assertion"],
        tenant.state.application.client_id,
        (tenant.token_endpoint, tenant.issuer),
        tenant.state.certificates_seen(delay),
        tenant.clock.now(),
    )


def _redeem(tenant: Tenant, form: dict[str, str]) -> Json:
    for name in ("code", "redirect_uri"):
        if name not in form:
            raise parameter_missing(name)
    now, grant = tenant.clock.now(), tenant.grants.get(form["code"])
    if grant is None:
        raise _invalid_grant(9002313, "Invalid request. Request is malformed or invalid.")
    if grant.redeemed:
        raise _invalid_grant(54005, "OAuth2 Authorization code was already redeemed.")
    if now - grant.issued > CODE_LIFETIME:
        raise _invalid_grant(70008, "The provided authorization code has expired.")
    if form["redirect_uri"] != grant.redirect_uri:
        text = "The reply address does not match the one provided when requesting the authorization code."
        raise _invalid_grant(500112, text)
    _check_verifier(grant, form)
    tenant.grants[form["code"]] = replace(grant, redeemed=True)
    person = tenant.state.people[grant.username]
    answer = _token_answer(secrets.token_urlsafe(64), grant.scope)
    answer["id_token"] = id_token(tenant.state, tenant.issuer, grant, person, now)
    if form.get("client_info"):
        answer["client_info"] = client_info(person, tenant.state.application.tenant_id)
    return answer


def _check_verifier(grant: Grant, form: dict[str, str]) -> None:
    """Compare the PKCE verifier with the challenge (RFC 7636, section 4.6)."""
    if bool(grant.code_challenge) != ("code_verifier" in form):
        raise _invalid_grant(50148, "The code_verifier does not match the code_challenge.")
    if grant.code_challenge:
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if to_base64url(digest) != grant.code_challenge:
            raise _invalid_grant(501481, "The Code_Verifier does not match the code_challenge.")


def _client_credentials(tenant: Tenant, form: dict[str, str]) -> Json:
    scope = form.get("scope", "")
    if not scope.endswith("/.default"):
        raise EntraError(1002012, "invalid_scope", f"The provided value for scope {scope} is not valid.")
    return _token_answer(tenant.issue_access_token(scope.removesuffix("/.default")), "")


def _token_answer(access_token: str, scope: str) -> Json:
    seconds = int(TOKEN_LIFETIME.total_seconds())
    answer: Json = {
        "token_type": "Bearer",
        "expires_in": seconds - 1,
        "ext_expires_in": seconds - 1,
        "access_token": access_token,
    }
    return answer | {"scope": scope} if scope else answer


def _invalid_grant(number: int, text: str) -> EntraError:
    return EntraError(number, "invalid_grant", text)
