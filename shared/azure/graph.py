"""The directory, on Microsoft Graph. No permission is needed: a proof by a registered certificate stands in for one."""

import base64
import hashlib
import json
import re
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any, Final

import requests

from shared.azure.http import json_object, send
from shared.base64url import base64url
from shared.config import Config
from shared.errors import DirectoryRefused, UpstreamUnavailable
from shared.ports import RegisteredKey
from shared.secret import Secret

_PORT: Final = "graph"
_NOT_IN_A_CODE: Final = re.compile(r"[^A-Za-z0-9_.]")
_LONGEST_CODE: Final = 80
_NO_SUCH_KEY: Final = "no credentials found to be removed"
_SHA1_BYTES: Final = 20
_HEX_SHA1: Final = re.compile(r"[0-9A-Fa-f]{40}")
"""Graph writes the thumbprint of a certificate as hexadecimal or as base64, by how it was put there."""


class Graph:
    """`shared.ports.Directory` on Microsoft Graph v1.0."""

    def __init__(self, config: Config, session: requests.Session) -> None:
        self._applications = f"{config.graph_url}/v1.0/applications"
        self._session = session

    def add_key(self, object_id: str, token: Secret, der: bytes, proof: str) -> str:
        """Register one more certificate (application: addKey); gives its key id."""
        key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode()}
        body = {"keyCredential": key, "passwordCredential": None, "proof": proof}
        response = self._post(f"{object_id}/addKey", token, body)
        if response.status_code != requests.codes.ok:
            raise _failure(response)
        key_id = json_object(_PORT, response).get("keyId")
        if not isinstance(key_id, str) or not key_id:
            raise UpstreamUnavailable(_PORT, "the answer names no key")
        return key_id

    def remove_key(self, object_id: str, token: Secret, key_id: str, proof: str) -> bool:
        """Remove the certificate with this key id (application: removeKey); False when there was none."""
        response = self._post(f"{object_id}/removeKey", token, {"keyId": key_id, "proof": proof})
        if response.status_code == requests.codes.no_content:
            return True
        # Graph has no code of its own for this; a 404 may as well say that there is no such application.
        message = str(_error(response).get("message", "")).lower()
        if _NO_SUCH_KEY in message or (
            response.status_code == requests.codes.not_found and key_id.lower() in message
        ):
            return False
        raise _failure(response)

    def keys(self, object_id: str, token: Secret) -> list[RegisteredKey] | None:
        """List the registered certificates; None when the application may not read itself."""
        response = send(
            _PORT,
            self._session,
            "GET",
            f"{self._applications}/{object_id}",
            params={"$select": "keyCredentials"},
            headers=_authorization(token),
        )
        if response.status_code == requests.codes.forbidden:
            return None
        if response.status_code != requests.codes.ok:
            raise _failure(response)
        listed = json_object(_PORT, response).get("keyCredentials")
        if not isinstance(listed, list):
            raise UpstreamUnavailable(_PORT, "the answer lists no keys")
        return [RegisteredKey(str(key["keyId"]), _x5t(key)) for key in listed if key.get("usage") == "Verify"]

    def _post(self, path: str, token: Secret, body: Mapping[str, object]) -> requests.Response:
        headers = _authorization(token) | {"Content-Type": "application/json"}
        url = f"{self._applications}/{path}"
        return send(_PORT, self._session, "POST", url, data=json.dumps(body).encode(), headers=headers)


def _authorization(token: Secret) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal()}"}


def _failure(response: requests.Response) -> DirectoryRefused | UpstreamUnavailable:
    """Make the error of an answer that was not expected: below 400 it is not even Graph's."""
    if response.status_code < requests.codes.bad_request:
        return UpstreamUnavailable(_PORT, f"http {response.status_code}")
    code = _NOT_IN_A_CODE.sub("", str(_error(response).get("code") or ""))[:_LONGEST_CODE]
    return DirectoryRefused(response.status_code, code or "unknown")


def _error(response: requests.Response) -> Mapping[str, Any]:
    """Read the `error` of a refusal; empty where a proxy in the way answered something else."""
    try:
        error = response.json()["error"]
    except (ValueError, TypeError, KeyError):
        return {}
    return error if isinstance(error, dict) else {}


def _x5t(key: Mapping[str, Any]) -> str:
    """Compute the thumbprint of a key credential; empty where it holds neither a certificate nor its thumbprint."""
    if der := _decoded(key.get("key")):
        return base64url(hashlib.sha1(der, usedforsecurity=False).digest())
    named = str(key.get("customKeyIdentifier"))
    sha1 = bytes.fromhex(named) if _HEX_SHA1.fullmatch(named) else _decoded(named)
    return base64url(sha1) if len(sha1) == _SHA1_BYTES else ""


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except Base64Error:
        return b""
