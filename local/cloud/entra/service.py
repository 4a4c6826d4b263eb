"""Entra's endpoints and its answer to everything else."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from local.cloud.entra.authorize import authorize, decide_consent, show_error, sign_in
from local.cloud.entra.errors import EntraError
from local.cloud.entra.sign_out import sign_out
from local.cloud.entra.tenant import Tenant, correlation_id
from local.cloud.entra.token_endpoint import token
from local.cloud.web import Json, Request, Response, Route, Service, json_response

_TENANT = r"/(?P<tenant>[^/]+)"


def entra_service(tenant: Tenant) -> Service:
    """Serve the tenant: what MSAL calls and what a browser sees."""
    for_programs, for_people = partial(_guarded, _error_document), partial(_guarded, show_error)
    metadata = for_programs(tenant, _metadata)
    return Service(
        routes=(
            Route("metadata", "GET", _TENANT + r"/v2\.0/\.well-known/openid-configuration", metadata),
            Route("keys", "GET", _TENANT + r"/discovery/v2\.0/keys", for_programs(tenant, _keys)),
            Route("token", "POST", _TENANT + r"/oauth2/v2\.0/token", for_programs(tenant, token)),
            Route(
                "authorize", "GET POST", _TENANT + r"/oauth2/v2\.0/authorize", for_people(tenant, authorize)
            ),
            Route("login", "POST", _TENANT + "/login", for_people(tenant, sign_in)),
            Route("consent", "POST", _TENANT + "/consent", for_people(tenant, decide_consent)),
            Route("logout", "GET POST", _TENANT + r"/oauth2/v2\.0/logout", for_people(tenant, sign_out)),
            Route("instance", "GET", "/common/discovery/instance", partial(_instance, tenant)),
        ),
        not_found=lambda _: json_response({}, HTTPStatus.NOT_FOUND),
        broken=lambda status: {"error": "temporarily_unavailable", "error_description": status.phrase},
        clock=tenant.clock,
    )


def _guarded(
    refuse: Callable[[Tenant, Request, EntraError], Response],
    tenant: Tenant,
    endpoint: Callable[[Tenant, Request], Response],
) -> Callable[[Request], Response]:
    def handler(request: Request) -> Response:
        try:
            return endpoint(tenant, request)
        except EntraError as error:
            return refuse(tenant, request, error)

    return handler


def _error_document(tenant: Tenant, request: Request, error: EntraError) -> Response:
    document = error.document(tenant.clock.now(), correlation_id(request), tenant.authority_host)
    return json_response(document, error.status)


def _metadata(tenant: Tenant, request: Request) -> Response:
    """Answer OpenID Connect Discovery 1.0, section 4. What a browser opens is on plain http."""
    tenant.require_tenant(request)
    tenant_id = tenant.state.application.tenant_id
    document: Json = {
        "issuer": tenant.issuer,
        "token_endpoint": tenant.token_endpoint,
        "authorization_endpoint": f"{tenant.browser_url}/{tenant_id}/oauth2/v2.0/authorize",
        "end_session_endpoint": f"{tenant.browser_url}/{tenant_id}/oauth2/v2.0/logout",
        "jwks_uri": f"{tenant.authority_host}/{tenant_id}/discovery/v2.0/keys",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "response_modes_supported": ["query", "form_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "frontchannel_logout_supported": True,
        "http_logout_supported": True,
        "claims_supported": [
            "aud",
            "exp",
            "iat",
            "iss",
            "name",
            "nonce",
            "oid",
            "preferred_username",
            "sub",
            "tid",
        ],
        "tenant_region_scope": "EU",
        "cloud_instance_name": tenant.authority_host.removeprefix("https://"),
    }
    return json_response(document)


def _keys(tenant: Tenant, request: Request) -> Response:
    tenant.require_tenant(request)
    return json_response({"keys": [key.jwk(tenant.issuer) for key in tenant.state.signing_keys]})


def _instance(tenant: Tenant, _: Request) -> Response:
    """Answer MSAL's instance discovery: there are no other clouds here."""
    tenant_id = tenant.state.application.tenant_id
    metadata = f"{tenant.authority_host}/{tenant_id}/v2.0/.well-known/openid-configuration"
    return json_response({"tenant_discovery_endpoint": metadata, "api-version": "1.1", "metadata": []})
