"""The real Key Vault SDKs, pointed at the stand-in as production would be at a vault."""

import json
from dataclasses import dataclass
from typing import Any

import requests
from azure.identity import ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient, CertificatePolicy, KeyVaultCertificate
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient

from local.cloud.server import Addresses

_POLICY = {"key_props": {"exportable": False}, "x509_props": {"subject": "CN=SOS"}}


@dataclass(frozen=True, slots=True)
class Vault:
    """The three clients, and what is needed to make another."""

    url: str
    credential: ManagedIdentityCredential
    options: dict[str, Any]
    certificates: CertificateClient
    keys: KeyClient
    secrets: SecretClient
    http: requests.Session

    def request(self, method: str, path: str, body: str = "") -> requests.Response:
        """Make a raw request: what the SDK would not send, or would at once follow up with polls."""
        token = self.credential.get_token("https://vault.azure.net/.default").token
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.request(method, self.url + path, data=body, headers=headers, timeout=10)


def connect(cloud: Addresses, http: requests.Session) -> Vault:
    """Connect; only the CA differs from production, and nothing is taken from the environment's proxies."""
    options = {
        "connection_verify": cloud.ca_file,
        "use_env_settings": False,
        "retry_total": 0,
    }
    credential = ManagedIdentityCredential(use_env_settings=False)
    url = cloud.key_vault_url
    return Vault(
        url,
        credential,
        options,
        CertificateClient(url, credential, **options),
        KeyClient(url, credential, **options),
        SecretClient(url, credential, **options),
        http,
    )


def create(vault: Vault, name: str = "sos", **changes: Any) -> KeyVaultCertificate:  # noqa: ANN401 - as below
    """Make a certificate and wait for it."""
    made = vault.certificates.begin_create_certificate(name, policy(**changes), _polling_interval=0).result()
    assert isinstance(made, KeyVaultCertificate)
    return made


def begin(vault: Vault, **attributes: object) -> requests.Response:
    """Begin a certificate and leave it in progress."""
    return vault.request(
        "POST", "/certificates/sos/create", json.dumps({"policy": _POLICY, "attributes": attributes})
    )


def policy(**changes: Any) -> CertificatePolicy:  # noqa: ANN401 - the SDK's own keyword arguments
    """Give the policy that production uses."""
    fields: dict[str, Any] = {
        "issuer_name": "Self",
        "subject": "CN=SOS",
        "exportable": False,
        "key_type": "RSA",
        "key_size": 2048,
        "reuse_key": False,
        "validity_in_months": 12,
    }
    return CertificatePolicy(**(fields | changes))
