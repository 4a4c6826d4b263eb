"""The vault, on Azure Key Vault."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import SecretClient

from shared.azure.http import call
from shared.errors import UpstreamUnavailable
from shared.ports import VaultSecret
from shared.secret import Secret

if TYPE_CHECKING:
    from datetime import datetime

    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import RequestsTransport
    from azure.keyvault.keys.crypto import CryptographyClient

    from shared.config import Config

_PORT = "vault"


class KeyVault:
    """`shared.ports.Vault` on Azure Key Vault."""

    def __init__(self, config: Config, credential: TokenCredential, transport: RequestsTransport) -> None:
        self._url = config.key_vault_url
        self._credential = credential
        self._options = {"transport": transport, "retry_total": 0}
        self._secrets = SecretClient(self._url, credential, **self._options)
        self._signers: dict[str, CryptographyClient] = {}
        self._lock = threading.Lock()

    def secret(self, name: str) -> VaultSecret | None:
        """Read the newest version of a secret; None when there is none. A disabled one is unavailable."""
        try:
            found = call(_PORT, lambda: self._secrets.get_secret(name), repeatable=True)
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            raise _unavailable(error) from None
        return VaultSecret(Secret(found.value or ""), found.properties.expires_on)

    def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
        """Write a new version of a secret."""
        try:
            call(
                _PORT,
                lambda: self._secrets.set_secret(name, value.reveal(), expires_on=expires_on),
                repeatable=False,
            )
        except HttpResponseError as error:
            raise _unavailable(error) from None

    def sign(self, key: str, version: str, algorithm: Literal["PS256", "RS256"], digest: bytes) -> bytes:
        """Sign a SHA-256 digest (32 bytes) with the named version of a certificate's key."""
        # Imported here: a first /login reads secrets and signs nothing.
        from azure.keyvault.keys.crypto import SignatureAlgorithm

        client = self._signer(key, version)
        try:
            return call(
                _PORT, lambda: client.sign(SignatureAlgorithm(algorithm), digest), repeatable=True
            ).signature
        except HttpResponseError as error:
            raise _unavailable(error) from None

    def _signer(self, key: str, version: str) -> CryptographyClient:
        from azure.keyvault.keys.crypto import CryptographyClient

        with self._lock:
            key_id = f"{self._url}/keys/{key}/{version}"
            if key_id not in self._signers:
                self._signers[key_id] = CryptographyClient(key_id, self._credential, **self._options)
            return self._signers[key_id]


def _unavailable(error: HttpResponseError) -> UpstreamUnavailable:
    return UpstreamUnavailable(_PORT, f"http {error.status_code}", retriable=False)
