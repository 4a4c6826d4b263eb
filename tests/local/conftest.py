"""A laptop cloud for the tests of this folder, with the seed restored before each of them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from azure.core.exceptions import ResourceNotFoundError
from cryptography.hazmat.primitives.asymmetric import rsa

from local.cloud.server import Addresses, serving
from tests.local.clients import (
    FRONT_CHANNEL_URL,
    REDIRECT_URI,
    SIGNED_OUT_URI,
    Client,
    Control,
    http_session,
    made_certificate,
)
from tests.local.key_vault import Vault, connect


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Start one cloud for all tests of this process."""
    with serving(tmp_path_factory.mktemp("cloud")) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def http(cloud: Addresses) -> Iterator[requests.Session]:
    """Give a session that trusts the cloud's CA."""
    with http_session(cloud) as session:
        yield session


@pytest.fixture(scope="session")
def seed(cloud: Addresses, http: requests.Session) -> dict[str, Any]:
    """Remember what the tenant began with."""
    control = Control(cloud.control_url, http)
    return {"application": control("GET", "/application"), "people": control("GET", "/people")}


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    """Make one key for all tests; certificates differ."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def control(cloud: Addresses, http: requests.Session, seed: dict[str, Any]) -> Control:
    """Give the control paths, with the seed restored and the application's addresses registered."""
    control = Control(cloud.control_url, http)
    control("POST", "/reset")
    addresses = {
        "redirect_uris": [REDIRECT_URI, SIGNED_OUT_URI],
        "front_channel_logout_url": FRONT_CHANNEL_URL,
    }
    control("PUT", "/application", seed["application"] | addresses)
    control("PUT", "/people", {"people": seed["people"]})
    control("PUT", "/vault", {"polls": 0, "seconds": 3600})
    for certificate in control("GET", "/certificates"):
        control("DELETE", f"/certificates/{certificate['key_id']}")
    return control


@pytest.fixture
def client(cloud: Addresses, http: requests.Session, control: Control, key: rsa.RSAPrivateKey) -> Client:
    """Give the application with one registered certificate."""
    certificate, der_base64 = made_certificate(key)
    control("POST", "/certificates", {"der_base64": der_base64})
    passwords = {p["username"]: p["password"] for p in control("GET", "/people")}
    return Client(cloud, http, control("GET", "/application"), key, certificate, passwords)


@pytest.fixture
def vault(
    cloud: Addresses, http: requests.Session, control: Control, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vault]:
    """Give the Key Vault SDKs with a managed identity, and an empty vault."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", cloud.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", cloud.identity_header)
    vault = connect(cloud, http)
    with suppress(ResourceNotFoundError):
        vault.certificates.delete_certificate_operation("sos")
    for certificate in vault.certificates.list_properties_of_certificates():
        vault.certificates.begin_delete_certificate(str(certificate.name)).wait()
    for secret in vault.secrets.list_properties_of_secrets():
        vault.secrets.begin_delete_secret(str(secret.name)).wait()
    for gone in vault.certificates.list_deleted_certificates():
        vault.certificates.purge_deleted_certificate(str(gone.name))
    for lost in vault.secrets.list_deleted_secrets():
        vault.secrets.purge_deleted_secret(str(lost.name))
    control("POST", "/reset")
    yield vault
    vault.certificates.close()
    vault.keys.close()
    vault.secrets.close()
    vault.credential.close()
