"""The real Key Vault SDKs, pointed at the stand-in as production would be at a vault."""

from dataclasses import dataclass
from typing import Any

from azure.identity import ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient, CertificatePolicy
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient

from local.cloud.server import Addresses


@dataclass(frozen=True, slots=True)
class Vault:
    """The three clients, and what is needed to make another."""

    url: str
    credential: ManagedIdentityCredential
    options: dict[str, Any]
    certificates: CertificateClient
    keys: KeyClient
    secrets: SecretClient


def connect(cloud: Addresses) -> Vault:
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
