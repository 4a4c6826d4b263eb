"""Key Vault's front door: the bearer challenge, and the routes behind it."""

from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from local.cloud.identity import IssuedTokens
from local.cloud.key_vault.certificates import certificate_routes
from local.cloud.key_vault.errors import VaultError, bad_parameter
from local.cloud.key_vault.keys import key_routes
from local.cloud.key_vault.secrets import secret_routes
from local.cloud.key_vault.vault import Vault
from local.cloud.web import Request, Response, Service

_PUBLIC_RESOURCE: Final = "https://vault.azure.net"


def vault_service(vault: Vault, tokens: IssuedTokens, authority: str) -> Service:
    """Serve the vault to who holds a token of the managed identity.

    The SDKs check that the vault's host is under the resource of the challenge: `name.vault.azure.net`
    under `vault.azure.net`. They do it on text, port included. So the vault at `127.0.0.1:PORT` names
    the resource `0.0.1:PORT`, and the check passes as it stands, with no switch in production code.
    """
    resource = "https://" + urlsplit(vault.url).netloc.partition(".")[2]
    return Service(
        routes=(*certificate_routes(vault), *key_routes(vault), *secret_routes(vault)),
        not_found=_no_such_path,
        broken=lambda status: {
            "error": {"code": status.phrase.replace(" ", ""), "message": status.description}
        },
        clock=vault.clock,
        guard=partial(_challenge, tokens, authority, resource),
    )


def _challenge(tokens: IssuedTokens, authority: str, resource: str, request: Request) -> Response | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        message = "AKV10000: Request is missing a Bearer or PoP token."
    else:
        issued_for = tokens.resource_of(token)
        if issued_for in {resource, _PUBLIC_RESOURCE}:
            return None
        message = (
            "AKV10022: Invalid audience."
            if issued_for
            else "[TokenExpired] The token is unknown or has expired."
        )
    refusal = VaultError(HTTPStatus.UNAUTHORIZED, "Unauthorized", message).response()
    challenge = f'Bearer authorization="{authority}", resource="{resource}"'
    return Response(refusal.status, refusal.body, (*refusal.headers, ("www-authenticate", challenge)))


def _no_such_path(request: Request) -> Response:
    return bad_parameter(f"This stand-in has no operation {request.method} {request.path}.").response()
