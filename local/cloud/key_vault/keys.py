"""Keys of certificates: the public half, and signatures by the private half, which never leaves."""

from functools import partial
from http import HTTPStatus

from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA256

from local.cloud.certificates import rsa_from_pem
from local.cloud.encoding import from_base64url, to_base64url
from local.cloud.key_vault.certificates import NAME, VERSION
from local.cloud.key_vault.errors import bad_parameter, forbidden, not_found
from local.cloud.key_vault.listing import listing
from local.cloud.key_vault.vault import Attributes, CertificateVersion, Entry, Vault
from local.cloud.web import Json, Request, Response, Route, json_response

_KIND = "key"
_DIGEST_BYTES = SHA256.digest_size
_PADDINGS = {
    "PS256": padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=_DIGEST_BYTES),
    "RS256": padding.PKCS1v15(),
}
"""By algorithm of RFC 7518, sections 3.3 and 3.5."""


def key_routes(vault: Vault) -> tuple[Route, ...]:
    """Give the routes of keys."""
    one = f"/keys/{NAME}"
    return (
        Route("keys/versions", "GET", one + "/versions", partial(_versions, vault)),
        Route("keys/list", "GET", "/keys/?", partial(_list, vault)),
        Route("keys/sign", "POST", f"{one}/{VERSION}/sign", partial(_sign, vault)),
        Route("keys/get", "GET", f"{one}(/{VERSION})?", partial(_get, vault)),
    )


def _find(vault: Vault, request: Request) -> tuple[Entry[CertificateVersion], CertificateVersion]:
    name, version = request.parts["name"], request.parts["version"]
    entry = vault.certificates.entries.get(name.lower())
    if entry is None or entry.deleted_on is not None:
        raise not_found(_KIND, name)
    return entry, entry.version(version, _KIND)


def _get(vault: Vault, request: Request) -> Response:
    entry, version = _find(vault, request)
    numbers = rsa_from_pem(version.pem.encode()).public_key().public_numbers()
    jwk = {
        "kid": f"{vault.url}/keys/{entry.name}/{version.version}",
        "kty": "RSA",
        "key_ops": ["sign", "verify"],
        "n": to_base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)),
        "e": to_base64url(numbers.e.to_bytes(3)),
    }
    return json_response({"key": jwk} | _common(version))


def _sign(vault: Vault, request: Request) -> Response:
    entry, version = _find(vault, request)
    _require_usable(version.attributes, vault.clock.seconds())
    body = request.json()
    algorithm = _PADDINGS.get(body.get("alg", ""))
    if algorithm is None:
        message = f"This stand-in signs with {sorted(_PADDINGS)}."
        raise bad_parameter(message)
    try:
        digest = from_base64url(body["value"])
    except (KeyError, TypeError, ValueError) as error:
        message = "The value is not base64url."
        raise bad_parameter(message) from error
    if len(digest) != _DIGEST_BYTES:
        message = f"Invalid length of 'value': {len(digest)} bytes, not {_DIGEST_BYTES}."
        raise bad_parameter(message)
    signature = rsa_from_pem(version.pem.encode()).sign(digest, algorithm, utils.Prehashed(SHA256()))
    kid = f"{vault.url}/keys/{entry.name}/{version.version}"
    return json_response({"kid": kid, "value": to_base64url(signature)}, HTTPStatus.OK)


def _require_usable(attributes: Attributes, now: int) -> None:
    if not attributes.enabled:
        message = "Operation sign is not allowed on a disabled key."
        raise forbidden(message, "KeyDisabled")
    if attributes.nbf is not None and now < attributes.nbf:
        message = "Operation sign is not allowed on a key that is not yet valid."
        raise forbidden(message, "KeyNotYetValid")
    if attributes.exp is not None and now >= attributes.exp:
        message = "Operation sign is not allowed on an expired key."
        raise forbidden(message, "KeyExpired")


def _versions(vault: Vault, request: Request) -> Response:
    entry = vault.certificates.alive(request.parts["name"])
    versions = sorted(entry.versions, key=lambda v: v.version)
    items = [{"kid": f"{vault.url}/keys/{entry.name}/{v.version}"} | _common(v) for v in versions]
    return listing(vault.url, request, items)


def _list(vault: Vault, request: Request) -> Response:
    entries = vault.certificates.listed(in_soft_delete=False)
    items = [{"kid": f"{vault.url}/keys/{e.name}"} | _common(e.versions[-1]) for e in entries]
    return listing(vault.url, request, items)


def _common(version: CertificateVersion) -> Json:
    return {"attributes": version.attributes.document(), "tags": version.tags, "managed": True}
