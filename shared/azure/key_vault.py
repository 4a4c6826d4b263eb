"""The vault, on Azure Key Vault."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import SecretClient

from shared.azure.http import call
from shared.errors import Conflict, UpstreamUnavailable
from shared.ports import VaultCertificate, VaultSecret
from shared.secret import Secret

if TYPE_CHECKING:
    from datetime import datetime

    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import RequestsTransport
    from azure.keyvault.certificates import CertificateClient, KeyVaultCertificate
    from azure.keyvault.keys.crypto import CryptographyClient

    from shared.config import Config

_PORT: Final = "vault"
_KEY_UNUSABLE: Final = frozenset({"KeyDisabled", "KeyExpired", "KeyNotYetValid"})
"""Inner codes of a refusal to sign (Key Vault, error codes)."""
_TAG: Final = "sos-renewal"
"""The tag by which a version is known as ours, whoever lost the answer to its creation."""
_CONFLICT: Final = 409
_POLICY: Final[dict[str, object]] = {
    "issuer": {"name": "Self"},
    "key_props": {"kty": "RSA", "key_size": 2048, "exportable": False, "reuse_key": False},
    "x509_props": {"subject": "CN=SOS Sign-in", "validity_months": 12, "key_usage": ["digitalSignature"]},
    # Named, so that the vault's default cannot be to renew: which version is used is decided by us alone.
    "lifetime_actions": [{"trigger": {"days_before_expiry": 30}, "action": {"action_type": "EmailContacts"}}],
}


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
            raise _unavailable(error, key_unusable=_is_about_the_key(error)) from None

    def create_certificate(self, name: str, tag: str) -> None:
        """Begin to make a version that bears this tag. Raises Conflict while another one is in the making."""
        from azure.core.rest import HttpRequest

        # Not `begin_create_certificate`: it always starts a thread that polls, and nobody here waits for it.
        body = {"policy": _POLICY, "tags": {_TAG: tag}}
        request = HttpRequest("POST", f"/certificates/{name}/create", json=body)
        try:
            call(
                _PORT,
                lambda: self._certificates.send_request(request).raise_for_status(),
                repeatable=False,
            )
        except HttpResponseError as error:
            raise (Conflict() if _in_the_making(error) else _unavailable(error)) from None

    def find_certificate(self, name: str, tag: str) -> VaultCertificate | None:
        """Find the version that was created with this tag; None while there is none."""
        versions = self._certificates.list_properties_of_certificate_versions
        try:
            listed = call(_PORT, lambda: list(versions(name)), repeatable=True)
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            raise _unavailable(error) from None
        tagged = [found for found in listed if (found.tags or {}).get(_TAG) == tag]
        # The oldest that is whole: one whose making failed or was cancelled has no certificate in it.
        for found in sorted(tagged, key=lambda found: (found.created_on, found.version)):
            if (made := self.certificate(name, str(found.version))) is not None:
                return made
        return None

    def certificate(self, name: str, version: str) -> VaultCertificate | None:
        """Read one version; None when there is none."""
        try:
            found = call(
                _PORT, lambda: self._certificates.get_certificate_version(name, version), repeatable=True
            )
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            raise _unavailable(error) from None
        return _certificate(found)

    def disable_certificate(self, name: str, version: str) -> None:
        """Let the vault sign with this version no more. Done already, or no such version: fine."""
        update = self._certificates.update_certificate_properties
        try:
            call(_PORT, lambda: update(name, version, enabled=False), repeatable=True)
        except ResourceNotFoundError:
            return
        except HttpResponseError as error:
            raise _unavailable(error) from None

    @cached_property
    def _certificates(self) -> CertificateClient:
        # Imported here: only the renewal needs it.
        from azure.keyvault.certificates import CertificateClient

        return CertificateClient(self._url, self._credential, **self._options)

    def _signer(self, key: str, version: str) -> CryptographyClient:
        from azure.keyvault.keys.crypto import CryptographyClient

        with self._lock:
            key_id = f"{self._url}/keys/{key}/{version}"
            if key_id not in self._signers:
                self._signers[key_id] = CryptographyClient(key_id, self._credential, **self._options)
            return self._signers[key_id]


def _certificate(found: KeyVaultCertificate) -> VaultCertificate | None:
    properties = found.properties
    if not found.cer or properties is None:  # a version that is still in the making, or was given up
        return None
    return VaultCertificate(str(properties.version), bytes(found.cer), enabled=bool(properties.enabled))


def _in_the_making(error: HttpResponseError) -> bool:
    """Tell the 409 of a pending operation from that of a deleted name, which only a person can mend."""
    inner = error.error.innererror if error.error else None
    return error.status_code == _CONFLICT and not str((inner or {}).get("code", "")).startswith("ObjectIs")


def _unavailable(error: HttpResponseError, *, key_unusable: bool = False) -> UpstreamUnavailable:
    return UpstreamUnavailable(_PORT, f"http {error.status_code}", retriable=False, key_unusable=key_unusable)


def _is_about_the_key(error: HttpResponseError) -> bool:
    """Tell a version that is disabled, expired or gone from a right that is missing: both are a 403."""
    inner = getattr(error.error, "innererror", None) or {}
    return isinstance(error, ResourceNotFoundError) or inner.get("code") in _KEY_UNUSABLE
