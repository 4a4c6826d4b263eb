"""Certificates: create and poll, read, update, delete, recover, purge."""

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.certificates import private_pem, rsa_from_pem
from local.cloud.encoding import from_base64url, to_base64url
from local.cloud.key_vault.changes import changed_attributes, tags_of
from local.cloud.key_vault.errors import conflict, forbidden, pending_not_found
from local.cloud.key_vault.listing import listing
from local.cloud.key_vault.policy import complete_policy, make_certificate, make_csr, make_key
from local.cloud.key_vault.vault import Attributes, CertificateVersion, Entry, Pending, Vault, new_version
from local.cloud.web import Json, Request, Response, Route, json_response

type _Entry = Entry[CertificateVersion]

NAME: Final = "(?P<name>[0-9a-zA-Z-]{1,127})"
VERSION: Final = "(?P<version>[0-9a-zA-Z]*)"


def certificate_routes(vault: Vault) -> tuple[Route, ...]:
    """Give the routes of certificates."""

    def route(operation: str, method: str, path: str, action: Callable[[Vault, Request], Response]) -> Route:
        return Route(f"certificates/{operation}", method, path, partial(action, vault))

    one, gone = f"/certificates/{NAME}", f"/deletedcertificates/{NAME}"
    return (
        route("create", "POST", one + "/create", _create),
        route("import", "POST", one + "/import", _refuse_import),
        route("pending", "GET", one + "/pending", _get_pending),
        route("cancel", "DELETE", one + "/pending", _drop_pending),
        route("versions", "GET", one + "/versions", _versions),
        route("policy", "GET", one + "/policy", _policy),
        route("list", "GET", "/certificates/?", _list),
        route("get", "GET", f"{one}(/{VERSION})?", _get),
        route("update", "PATCH", f"{one}(/{VERSION})?", _update),
        route("delete", "DELETE", one, _delete),
        route("list-deleted", "GET", "/deletedcertificates/?", _list_deleted),
        route("get-deleted", "GET", gone, _get_deleted),
        route("recover", "POST", gone + "/recover", _recover),
        route("purge", "DELETE", gone, _purge),
    )


def _create(vault: Vault, request: Request) -> Response:
    body = request.json()
    policy = complete_policy(body.get("policy") or {})
    entry = vault.certificates.for_writing(request.parts["name"])
    _progress(vault, entry, polled=False)
    if entry.pending and not entry.pending.completed:
        message = "A new key vault certificate can not be created while a pending one's status is inProgress."
        raise conflict(message)
    reused = policy["key_props"]["reuse_key"] and entry.versions
    key = rsa_from_pem(entry.versions[-1].pem.encode()) if reused else make_key(policy)
    now = vault.clock.seconds()
    certificate = make_certificate(policy, key, vault.clock.now())
    attributes = Attributes(
        created=now,
        updated=now,
        nbf=int(certificate.not_valid_before_utc.timestamp()),
        exp=int(certificate.not_valid_after_utc.timestamp()),
    )
    attributes = changed_attributes(attributes, _enabled_only(body), now)
    der = to_base64url(certificate.public_bytes(Encoding.DER))
    ready = CertificateVersion(new_version(), der, private_pem(key).decode(), attributes, tags_of(body))
    entry.policy, entry.pending = policy, Pending(now, make_csr(policy, key), ready)
    vault.save()
    return json_response(_operation(vault, entry, entry.pending), HTTPStatus.ACCEPTED)


def _refuse_import(vault: Vault, request: Request) -> Response:
    del vault, request
    message = "Importing is not allowed: a key must be made in the vault."
    raise forbidden(message)


def _progress(vault: Vault, entry: _Entry, *, polled: bool) -> None:
    """Complete the pending operation when its time has come."""
    pending = entry.pending
    if pending is None or pending.completed:
        return
    pace = vault.creation_pace
    if (polled and pending.polls >= pace.polls) or vault.clock.seconds() >= pending.started + pace.seconds:
        entry.versions.append(pending.ready)
        entry.pending = replace(pending, completed=True)
        vault.save()
    elif polled:
        entry.pending = replace(pending, polls=pending.polls + 1)


def _get_pending(vault: Vault, request: Request) -> Response:
    entry = vault.certificates.alive(request.parts["name"])
    _progress(vault, entry, polled=True)
    return json_response(_operation(vault, entry, _pending_of(entry)))


def _drop_pending(vault: Vault, request: Request) -> Response:
    entry = vault.certificates.alive(request.parts["name"])
    operation = _operation(vault, entry, _pending_of(entry))
    entry.pending = None
    vault.save()
    return json_response(operation)


def _pending_of(entry: _Entry) -> Pending:
    if entry.pending is None:
        raise pending_not_found(entry.name)
    return entry.pending


def _operation(vault: Vault, entry: _Entry, pending: Pending) -> Json:
    document: Json = {
        "id": f"{vault.url}/certificates/{entry.name}/pending",
        "issuer": entry.policy["issuer"],
        "csr": pending.csr,
        "cancellation_requested": False,
        "status": "completed" if pending.completed else "inProgress",
        "request_id": pending.ready.version,
    }
    if pending.completed:
        return document | {"target": f"{vault.url}/certificates/{entry.name}"}
    return document | {"status_details": "Pending certificate created. Certificate request is in progress."}


def _alive(vault: Vault, request: Request) -> _Entry:
    entry = vault.certificates.alive(request.parts["name"])
    _progress(vault, entry, polled=False)
    return entry


def _get(vault: Vault, request: Request) -> Response:
    entry, wanted = _alive(vault, request), request.parts["version"]
    bundle = _bundle(vault, entry, entry.version(wanted, "certificate"))
    return json_response(bundle if wanted else bundle | _policy_of(vault, entry))


def _update(vault: Vault, request: Request) -> Response:
    entry, body = _alive(vault, request), request.json()
    version = entry.version(request.parts["version"], "certificate")
    attributes = changed_attributes(version.attributes, _enabled_only(body), vault.clock.seconds())
    version = replace(version, attributes=attributes, tags=tags_of(body, version.tags))
    entry.put(version)
    vault.save()
    return json_response(_bundle(vault, entry, version))


def _enabled_only(body: Json) -> Json:
    """Leave nbf and exp away: the times of a certificate stand in it."""
    return {name: v for name, v in (body.get("attributes") or {}).items() if name == "enabled"}


def _versions(vault: Vault, request: Request) -> Response:
    entry = _alive(vault, request)
    items = [_item(vault, entry, v, v.version) for v in sorted(entry.versions, key=lambda v: v.version)]
    return listing(vault.url, request, items)


def _policy(vault: Vault, request: Request) -> Response:
    entry = _alive(vault, request)
    return json_response(_policy_of(vault, entry)["policy"])


def _list(vault: Vault, request: Request) -> Response:
    for entry in vault.certificates.entries.values():
        _progress(vault, entry, polled=False)
    entries = vault.certificates.listed(in_soft_delete=False)
    return listing(vault.url, request, [_item(vault, e, e.versions[-1]) for e in entries])


def _delete(vault: Vault, request: Request) -> Response:
    entry = _alive(vault, request)
    newest = entry.version("", "certificate")
    entry.deleted_on, entry.pending = vault.clock.seconds(), None
    vault.save()
    return json_response(_deleted_bundle(vault, entry, newest))


def _list_deleted(vault: Vault, request: Request) -> Response:
    entries = vault.certificates.listed(in_soft_delete=True)
    items = [_item(vault, e, e.versions[-1]) | _deletion(vault, e) for e in entries]
    return listing(vault.url, request, items)


def _get_deleted(vault: Vault, request: Request) -> Response:
    entry = vault.certificates.in_soft_delete(request.parts["name"])
    return json_response(_deleted_bundle(vault, entry, entry.versions[-1]))


def _recover(vault: Vault, request: Request) -> Response:
    entry = vault.certificates.in_soft_delete(request.parts["name"])
    entry.deleted_on = None
    vault.save()
    return json_response(_bundle(vault, entry, entry.versions[-1]) | _policy_of(vault, entry))


def _purge(vault: Vault, request: Request) -> Response:
    entry = vault.certificates.in_soft_delete(request.parts["name"])
    del vault.certificates.entries[entry.name.lower()]
    vault.save()
    return Response(HTTPStatus.NO_CONTENT)


def _item(vault: Vault, entry: _Entry, version: CertificateVersion, named: str = "") -> Json:
    sha1 = version.certificate().fingerprint(hashes.SHA1())  # noqa: S303 - x5t is SHA-1 by definition
    return {
        "id": f"{vault.url}/certificates/{entry.name}" + (f"/{named}" if named else ""),
        "x5t": to_base64url(sha1),
        "attributes": version.attributes.document(),
        "tags": version.tags,
        "subject": version.certificate().subject.rfc4514_string(),
    }


def _bundle(vault: Vault, entry: _Entry, version: CertificateVersion) -> Json:
    return _item(vault, entry, version, version.version) | {
        "kid": f"{vault.url}/keys/{entry.name}/{version.version}",
        "sid": f"{vault.url}/secrets/{entry.name}/{version.version}",
        "cer": base64.b64encode(from_base64url(version.der)).decode(),
    }


def _deleted_bundle(vault: Vault, entry: _Entry, version: CertificateVersion) -> Json:
    return _bundle(vault, entry, version) | _policy_of(vault, entry) | _deletion(vault, entry)


def _deletion(vault: Vault, entry: _Entry) -> Json:
    return entry.deletion() | {"recoveryId": f"{vault.url}/deletedcertificates/{entry.name}"}


def _policy_of(vault: Vault, entry: _Entry) -> Json:
    return {"policy": entry.policy | {"id": f"{vault.url}/certificates/{entry.name}/policy"}}
