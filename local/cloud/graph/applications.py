"""The application object: add, remove, read and replace its key credentials."""

import base64
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from local.cloud.encoding import from_base64url
from local.cloud.entra.state import RegisteredCertificate
from local.cloud.entra.tenant import Tenant
from local.cloud.graph.errors import bad_request, forbidden
from local.cloud.graph.policies import GraphPolicies
from local.cloud.graph.proof import check_proof
from local.cloud.web import Json, Request, Response, json_response

_TYPE: Final = {"type": "AsymmetricX509Cert", "usage": "Verify"}


@dataclass(slots=True)
class Graph:
    """Graph at its address. `policies` may be replaced at any time."""

    tenant: Tenant
    url: str
    policies: GraphPolicies = field(default_factory=GraphPolicies)


def add_key(graph: Graph, request: Request) -> Response:
    """Register one more certificate (Microsoft Graph, application: addKey)."""
    body = request.json()
    _check_proof(graph, body)
    if body.get("passwordCredential") is not None:
        raise bad_request("passwordCredential must be null for a key of this type.")
    der = _certificate_in(body.get("keyCredential"))
    refusal = graph.policies.refusal()
    if refusal:
        raise refusal
    known = {c.der_base64 for c in graph.tenant.state.certificates}
    if graph.policies.duplicates == "refused" and base64.b64encode(der).decode() in known:
        raise bad_request("A key credential with the same certificate is present already.")
    try:
        registered = graph.tenant.state.add_certificate(der)
    except ValueError as error:
        raise bad_request("Key credential must have a valid certificate value.") from error
    context = {"@odata.context": f"{graph.url}/v1.0/$metadata#microsoft.graph.keyCredential"}
    return json_response(context | _key_credential(registered))


def remove_key(graph: Graph, request: Request) -> Response:
    """Remove the certificate with this key id (Microsoft Graph, application: removeKey)."""
    body = request.json()
    _check_proof(graph, body)
    key_id = next((c.key_id for c in graph.tenant.state.certificates if c.key_id == body.get("keyId")), None)
    if key_id is None:
        raise bad_request("No credentials found to be removed.")
    graph.tenant.state.remove_certificate(key_id)
    return Response(HTTPStatus.NO_CONTENT)


def read(graph: Graph, request: Request) -> Response:
    """Show the application (Microsoft Graph, Get application); `key` is there only with `$select`."""
    if not graph.policies.graph_may_read:
        raise forbidden()
    application, selected = graph.tenant.state.application, request.query.get("$select")
    document: Json = {
        "id": application.object_id,
        "appId": application.client_id,
        "displayName": application.name,
        "keyCredentials": [
            _key_credential(c) | {"key": c.der_base64 if selected else None}
            for c in graph.tenant.state.certificates
        ],
    }
    names = selected.split(",") if selected else document.keys()
    context = {"@odata.context": f"{graph.url}/v1.0/$metadata#applications/$entity"}
    return json_response(context | {name: document[name] for name in names if name in document})


def replace(graph: Graph, request: Request) -> Response:
    """Put the given key credentials in the place of ALL others (Microsoft Graph, Update application).

    One that is registered already may be named by its `keyId` alone.
    """
    credentials = request.json().get("keyCredentials")
    if not isinstance(credentials, list):
        raise bad_request("This stand-in changes keyCredentials, which is a list.")
    named = [c.get("keyId") for c in credentials if isinstance(c, dict)]
    kept = [c.key_id for c in graph.tenant.state.certificates if c.key_id in named]
    added = [_certificate_in(c) for c in credentials if not (isinstance(c, dict) and c.get("keyId") in kept)]
    try:
        graph.tenant.state.replace_certificates(kept, added)
    except ValueError as error:
        raise bad_request("Key credential must have a valid certificate value.") from error
    return Response(HTTPStatus.NO_CONTENT)


def _check_proof(graph: Graph, body: Json) -> None:
    tenant = graph.tenant
    check_proof(
        body.get("proof"), tenant.state.application.object_id, tenant.state.certificates, tenant.clock.now()
    )


def _certificate_in(credential: object) -> bytes:
    """Give the DER of a key credential in a request. Raises GraphError (400)."""
    if not isinstance(credential, dict) or not credential.items() >= _TYPE.items():
        raise bad_request("This stand-in takes keys of type AsymmetricX509Cert with usage Verify.")
    try:
        return base64.b64decode(credential["key"], validate=True)
    except (KeyError, TypeError, Base64Error) as error:
        raise bad_request("Key credential must have a certificate value in base64.") from error


def _key_credential(registered: RegisteredCertificate) -> Json:
    certificate = registered.certificate()
    return _TYPE | {
        "customKeyIdentifier": base64.b64encode(from_base64url(registered.x5t)).decode(),
        "displayName": certificate.subject.rfc4514_string(),
        "endDateTime": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "key": None,
        "keyId": registered.key_id,
        "startDateTime": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
    }
