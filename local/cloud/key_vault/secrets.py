"""Secrets with versions, and the public view of a certificate that stands under its name."""

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from operator import itemgetter

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12

from local.cloud.key_vault.certificates import NAME, VERSION
from local.cloud.key_vault.changes import changed_attributes, tags_of
from local.cloud.key_vault.errors import bad_parameter, deleted, forbidden
from local.cloud.key_vault.listing import listing
from local.cloud.key_vault.policy import PEM
from local.cloud.key_vault.vault import (
    Attributes,
    CertificateVersion,
    Entry,
    SecretVersion,
    Vault,
    new_version,
)
from local.cloud.web import Json, Request, Response, Route, json_response

type _Entry = Entry[CertificateVersion] | Entry[SecretVersion]

_KIND = "secret"
_LARGEST_BYTES = 25 * 1024


def secret_routes(vault: Vault) -> tuple[Route, ...]:
    """Give the routes of secrets."""

    def route(operation: str, method: str, path: str, action: Callable[[Vault, Request], Response]) -> Route:
        return Route(f"secrets/{operation}", method, path, partial(action, vault))

    one, gone = f"/secrets/{NAME}", f"/deletedsecrets/{NAME}"
    return (
        route("set", "PUT", one, _set),
        route("versions", "GET", one + "/versions", _versions),
        route("list", "GET", "/secrets/?", _list),
        route("get", "GET", f"{one}(/{VERSION})?", _get),
        route("update", "PATCH", f"{one}(/{VERSION})?", _update),
        route("delete", "DELETE", one, _delete),
        route("list-deleted", "GET", "/deletedsecrets/?", _list_deleted),
        route("get-deleted", "GET", gone, _get_deleted),
        route("recover", "POST", gone + "/recover", _recover),
        route("purge", "DELETE", gone, _purge),
    )


def _set(vault: Vault, request: Request) -> Response:
    name, body = request.parts["name"], request.json()
    _refuse_managed(vault, name)
    value = body.get("value")
    if not isinstance(value, str):
        message = "The property value is required."
        raise bad_parameter(message)
    if len(value.encode()) > _LARGEST_BYTES:
        message = f"The secret value is larger than {_LARGEST_BYTES} bytes."
        raise bad_parameter(message)
    now = vault.clock.seconds()
    attributes = changed_attributes(Attributes(now, now), body.get("attributes"), now)
    version = SecretVersion(new_version(), value, attributes, tags_of(body), body.get("contentType"))
    entry = vault.secrets.for_writing(name)
    entry.versions.append(version)
    vault.save()
    return json_response(_bundle(vault, entry.name, version))


def _get(vault: Vault, request: Request) -> Response:
    name, wanted = request.parts["name"], request.parts["version"]
    certificate = _managed(vault, name)
    if certificate:
        newest = certificate.version(wanted, _KIND)
        bundle = _public_view(vault, certificate, newest)
        attributes = newest.attributes
    else:
        entry = vault.secrets.alive(name)
        version = entry.version(wanted, _KIND)
        bundle, attributes = _bundle(vault, entry.name, version), version.attributes
    if not attributes.enabled:
        message = "Operation get is not allowed on a disabled secret."
        raise forbidden(message, "SecretDisabled")
    return json_response(bundle)


def _update(vault: Vault, request: Request) -> Response:
    name, body = request.parts["name"], request.json()
    _refuse_managed(vault, name)
    entry = vault.secrets.alive(name)
    version = entry.version(request.parts["version"], _KIND)
    version = replace(
        version,
        attributes=changed_attributes(version.attributes, body.get("attributes"), vault.clock.seconds()),
        tags=tags_of(body, version.tags),
        content_type=body.get("contentType", version.content_type),
    )
    entry.put(version)
    vault.save()
    return json_response(_item(vault, entry.name, version, version.version))


def _versions(vault: Vault, request: Request) -> Response:
    name = request.parts["name"]
    certificate = _managed(vault, name)
    entry: _Entry = certificate or vault.secrets.alive(name)
    items = [_item(vault, entry.name, v, v.version) for v in entry.versions]
    return listing(vault.url, request, sorted(items, key=itemgetter("id")))


def _list(vault: Vault, request: Request) -> Response:
    entries: list[_Entry] = [
        *vault.certificates.listed(in_soft_delete=False),
        *vault.secrets.listed(in_soft_delete=False),
    ]
    return listing(vault.url, request, [_item(vault, e.name, e.versions[-1]) for e in entries])


def _delete(vault: Vault, request: Request) -> Response:
    _refuse_managed(vault, request.parts["name"])
    entry = vault.secrets.alive(request.parts["name"])
    entry.deleted_on = vault.clock.seconds()
    vault.save()
    return json_response(_deleted_item(vault, entry, entry.versions[-1].version))


def _list_deleted(vault: Vault, request: Request) -> Response:
    entries = vault.secrets.listed(in_soft_delete=True)
    return listing(vault.url, request, [_deleted_item(vault, e) for e in entries])


def _get_deleted(vault: Vault, request: Request) -> Response:
    entry = vault.secrets.in_soft_delete(request.parts["name"])
    return json_response(_deleted_item(vault, entry, entry.versions[-1].version))


def _recover(vault: Vault, request: Request) -> Response:
    entry = vault.secrets.in_soft_delete(request.parts["name"])
    entry.deleted_on = None
    vault.save()
    newest = entry.versions[-1]
    return json_response(_item(vault, entry.name, newest, newest.version))


def _purge(vault: Vault, request: Request) -> Response:
    entry = vault.secrets.in_soft_delete(request.parts["name"])
    del vault.secrets.entries[entry.name.lower()]
    vault.save()
    return Response(HTTPStatus.NO_CONTENT)


def _managed(vault: Vault, name: str) -> Entry[CertificateVersion] | None:
    entry = vault.certificates.entries.get(name.lower())
    return entry if entry and entry.versions and entry.deleted_on is None else None


def _refuse_managed(vault: Vault, name: str) -> None:
    if _managed(vault, name):
        message = f"The secret {name} belongs to a certificate and can be changed only through it."
        raise forbidden(message)
    entry = vault.certificates.entries.get(name.lower())
    if entry and entry.deleted_on is not None:
        raise deleted(_KIND, name)


def _item(vault: Vault, name: str, version: SecretVersion | CertificateVersion, named: str = "") -> Json:
    document: Json = {
        "id": f"{vault.url}/secrets/{name}" + (f"/{named}" if named else ""),
        "attributes": version.attributes.document(),
        "tags": version.tags,
    }
    if isinstance(version, CertificateVersion):
        return document | {"managed": True}
    return document | ({"contentType": version.content_type} if version.content_type else {})


def _bundle(vault: Vault, name: str, version: SecretVersion) -> Json:
    return _item(vault, name, version, version.version) | {"value": version.value}


def _public_view(vault: Vault, entry: Entry[CertificateVersion], version: CertificateVersion) -> Json:
    """Give the certificate without its key, which is not exportable."""
    content_type = entry.policy["secret_props"]["contentType"]
    certificate = version.certificate()
    if content_type == PEM:
        value = certificate.public_bytes(Encoding.PEM).decode()
    else:
        pfx = pkcs12.serialize_key_and_certificates(None, None, None, [certificate], NoEncryption())
        value = base64.b64encode(pfx).decode()
    return _item(vault, entry.name, version, version.version) | {
        "value": value,
        "contentType": content_type,
        "kid": f"{vault.url}/keys/{entry.name}/{version.version}",
    }


def _deleted_item(vault: Vault, entry: Entry[SecretVersion], named: str = "") -> Json:
    item = _item(vault, entry.name, entry.versions[-1], named)
    return item | entry.deletion() | {"recoveryId": f"{vault.url}/deletedsecrets/{entry.name}"}
