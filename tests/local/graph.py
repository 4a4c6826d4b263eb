"""The application at the Graph stand-in: its token, its proof, and raw requests."""

import base64
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.encoding import to_base64url
from tests.local.clients import Client, made_certificate

AUDIENCE = "00000002-0000-0000-c000-000000000000"


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its key."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def x5t(self) -> str:
        """The SHA-1 thumbprint (RFC 7515, section 4.1.7)."""
        return to_base64url(self.certificate.fingerprint(hashes.SHA1()))  # noqa: S303 - x5t is SHA-1 by definition

    @property
    def der_base64(self) -> str:
        """The certificate as Graph takes it."""
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()


def new_credential(key: rsa.RSAPrivateKey, lifetime: timedelta = timedelta(days=365)) -> Credential:
    """Make a certificate for a key."""
    return Credential(key, made_certificate(key, lifetime)[0])


@dataclass(frozen=True, slots=True)
class GraphClient:
    """The application, with the certificate that it proves itself by."""

    client: Client
    credential: Credential

    def try_token(self, credential: Credential | None = None, **changes: str) -> dict[str, Any]:
        """Ask for an application token, by the given certificate or its own; gives the whole answer."""
        signer = credential or self.credential
        thumbprint = to_base64url(signer.certificate.fingerprint(hashes.SHA256()))
        form = {
            "grant_type": "client_credentials",
            "code_verifier": "",
            "redirect_uri": "",
            "scope": f"{self.client.addresses.graph_url}/.default",
            "client_assertion": self.client.assertion({"x5t#S256": thumbprint}),
        }
        return self.client.redeem(**(form | changes))

    def token(self) -> str:
        """Get an application token."""
        token: str = self.try_token()["access_token"]
        return token

    def proof(self, header: dict[str, Any] | None = None, **claims: object) -> str:
        """Sign a proof; a claim or header of None is left out."""
        now = int(time.time())
        names = {"aud": AUDIENCE, "iss": self.client.application["object_id"]}
        times = {"nbf": now - 120, "exp": now + 480}
        payload = {name: v for name, v in (names | times | claims).items() if v is not None}
        headers = {"alg": "RS256", "x5t": self.credential.x5t} | (header or {})
        present = {name: v for name, v in headers.items() if v is not None}
        return jwt.encode(payload, self.credential.key, algorithm=headers["alg"], headers=present)

    def request(
        self, method: str, path: str = "", body: object = None, token: str | None = None
    ) -> requests.Response:
        """Make a request about the application."""
        headers = {"Authorization": f"Bearer {self.token() if token is None else token}"}
        object_id = self.client.application["object_id"]
        url = f"{self.client.addresses.graph_url}/v1.0/applications/{object_id}{path}"
        return self.client.http.request(method, url, json=body, headers=headers, timeout=10)

    def add(
        self, credential: Credential, *, proof: str | None = None, **changes: object
    ) -> requests.Response:
        """Call addKey."""
        key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": credential.der_base64}
        body = {"keyCredential": key, "passwordCredential": None, "proof": proof or self.proof()}
        return self.request("POST", "/addKey", body | changes)

    def remove(self, key_id: object, *, proof: str | None = None) -> requests.Response:
        """Call removeKey."""
        return self.request("POST", "/removeKey", {"keyId": key_id, "proof": proof or self.proof()})
