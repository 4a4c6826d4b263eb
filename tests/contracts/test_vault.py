"""The vault's contract: the paper vault and Azure Key Vault keep the same promises, as far as paper goes."""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient, CertificatePolicyAction, KeyVaultCertificate
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from local.laptop import Laptop
from shared.azure.http import pooled_session, transport
from shared.errors import Conflict, UpstreamUnavailable
from shared.ports import Vault
from shared.secret import Secret
from shared.services import Services
from tests.house import PaperVault
from tests.local.key_vault import policy

pytestmark = pytest.mark.system

PADDINGS = {
    "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32),
    "RS256": padding.PKCS1v15(),
}
"""RFC 7518, sections 3.5 and 3.3."""
REAL = bool(os.environ.get("CONTRACT_KEY_VAULT_URL"))
DIGEST = hashlib.sha256(b"what is signed").digest()


@dataclass(frozen=True, slots=True)
class Portal:
    """What an engineer does in the portal: make certificates, disable and delete secrets."""

    secrets: SecretClient
    certificates: CertificateClient

    def certificate(self, name: str) -> tuple[str, rsa.RSAPublicKey]:
        """Make a version of a certificate; gives its name and its public key."""
        made: Any = self.certificates.begin_create_certificate(name, policy(), _polling_interval=1).result()
        public_key = x509.load_der_x509_certificate(bytes(made.cer)).public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        return str(made.properties.version), public_key

    def finish(self, name: str) -> None:
        """Wait until nothing is in the making under this name."""
        while self.certificates.get_certificate_operation(name).status == "inProgress":
            time.sleep(1 if REAL else 0)  # the stand-in counts how often it is asked


@pytest.fixture(scope="module")
def portal(azure: Services) -> Iterator[Portal]:
    """The vault's other clients, on the same wire."""
    wire = transport(pooled_session(azure.config))
    make = DefaultAzureCredential if REAL else ManagedIdentityCredential
    with make(transport=wire) as credential:
        url = azure.config.key_vault_url
        with (
            SecretClient(url, credential, transport=wire) as of_secrets,
            CertificateClient(url, credential, transport=wire) as of_certificates,
        ):
            yield Portal(of_secrets, of_certificates)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of its own; what stands under it in a real or stand-in vault is deleted, and purged where that is allowed."""
    name = f"contract-{secrets.token_hex(8)}"
    yield name
    if "portal" not in request.fixturenames and "azure" not in request.fixturenames:
        return
    portal: Portal = request.getfixturevalue("portal")
    with suppress(HttpResponseError):
        portal.certificates.begin_delete_certificate(name).wait()
        portal.certificates.purge_deleted_certificate(name)
    with suppress(HttpResponseError):
        portal.secrets.begin_delete_secret(name).wait()
        portal.secrets.purge_deleted_secret(name)


@pytest.fixture(params=["paper", "key vault"])
def vault(request: pytest.FixtureRequest) -> Vault:
    """Each implementation in turn."""
    if request.param == "paper":
        return PaperVault()
    request.getfixturevalue("portal")
    vault: Vault = request.getfixturevalue("azure").vault
    return vault


@pytest.fixture
def key_vault(azure: Services, portal: Portal) -> Vault:
    """The adapter alone: for what paper cannot do."""
    del portal
    return azure.vault


# Secrets


@pytest.mark.parametrize("value", ["a value", "", "Zürich – 救急\n\t\"'\\", "x" * 25_000], ids=len)
def test_a_secret_comes_back_as_it_was_written(vault: Vault, name: str, value: str) -> None:
    """Text of any kind, up to the 25 KB of Key Vault, keeps every character."""
    vault.set_secret(name, Secret(value))
    found = vault.secret(name)
    assert found is not None
    assert found.value.reveal() == value
    assert found.expires_on is None


def test_the_newest_version_counts(vault: Vault, name: str) -> None:
    """A second write takes the place of the first."""
    vault.set_secret(name, Secret("first"))
    vault.set_secret(name, Secret("second"))
    found = vault.secret(name)
    assert found is not None
    assert found.value.reveal() == "second"


def test_what_is_not_there_is_none(vault: Vault, name: str) -> None:
    """A missing secret is None, not an error."""
    assert vault.secret(name) is None


@pytest.mark.parametrize("hours", [24, -24])
def test_an_expiry_comes_back(vault: Vault, name: str, hours: int) -> None:
    """When a secret ends is told to the second, before and after its end: the caller compares."""
    expires_on = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)
    vault.set_secret(name, Secret("for a while"), expires_on=expires_on)
    found = vault.secret(name)
    assert found is not None
    assert found.expires_on == expires_on
    assert found.expires_on.tzinfo is not None


def test_a_new_version_has_no_expiry_of_the_old(vault: Vault, name: str) -> None:
    """Each version has its own end."""
    vault.set_secret(name, Secret("first"), expires_on=datetime.now(UTC) + timedelta(hours=1))
    vault.set_secret(name, Secret("second"))
    found = vault.secret(name)
    assert found is not None
    assert found.expires_on is None


def test_a_secret_is_hidden(vault: Vault, name: str) -> None:
    """Neither the record nor the vault shows a value by `repr`."""
    vault.set_secret(name, Secret("hunter2"))
    assert "hunter2" not in repr(vault.secret(name)) + repr(vault)


def test_a_disabled_secret_is_unavailable_not_absent(key_vault: Vault, portal: Portal, name: str) -> None:
    """Who disables a secret must not make us write a new one: that would undo the first for good."""
    key_vault.set_secret(name, Secret("a value"))
    portal.secrets.update_secret_properties(name, enabled=False)
    with pytest.raises(UpstreamUnavailable) as caught:
        key_vault.secret(name)
    assert (caught.value.port, caught.value.retriable) == ("vault", False)


def test_a_deleted_secret_is_absent_and_cannot_be_written(
    key_vault: Vault, portal: Portal, name: str
) -> None:
    """Soft delete: reading finds nothing, writing is refused until it is recovered or purged."""
    key_vault.set_secret(name, Secret("hunter2"))
    portal.secrets.begin_delete_secret(name).wait()
    assert key_vault.secret(name) is None
    with pytest.raises(UpstreamUnavailable) as caught:
        key_vault.set_secret(name, Secret("hunter2"))
    assert "hunter2" not in str(caught.value)
    assert "409" in str(caught.value)
    portal.secrets.purge_deleted_secret(name)


def test_a_name_that_cannot_be_is_an_error(key_vault: Vault) -> None:
    """A name that Key Vault does not allow is refused, and nothing of the value is shown."""
    with pytest.raises(UpstreamUnavailable) as caught:
        key_vault.set_secret("not_a_name", Secret("hunter2"))
    assert "hunter2" not in str(caught.value)


# Signatures


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_a_signature_verifies_with_the_certificate(
    key_vault: Vault, portal: Portal, name: str, algorithm: Literal["PS256", "RS256"]
) -> None:
    """What the vault signs verifies with the public key of the certificate, by the algorithm that was asked for."""
    version, public_key = portal.certificate(name)
    signature = key_vault.sign(name, version, algorithm, DIGEST)
    public_key.verify(signature, DIGEST, PADDINGS[algorithm], Prehashed(hashes.SHA256()))
    other = PADDINGS["RS256" if algorithm == "PS256" else "PS256"]
    with pytest.raises(InvalidSignature):
        public_key.verify(signature, DIGEST, other, Prehashed(hashes.SHA256()))


def test_the_named_version_signs_not_the_newest(key_vault: Vault, portal: Portal, name: str) -> None:
    """After a renewal the old version signs with the old key, for as long as it is asked to."""
    old, old_key = portal.certificate(name)
    new, new_key = portal.certificate(name)
    assert old != new
    for version, public_key in ((old, old_key), (new, new_key), (old, old_key)):
        signature = key_vault.sign(name, version, "PS256", DIGEST)
        public_key.verify(signature, DIGEST, PADDINGS["PS256"], Prehashed(hashes.SHA256()))


def test_the_named_key_signs(key_vault: Vault, portal: Portal, name: str) -> None:
    """Asking for another key under a version that is known does not get the signature of the first."""
    version, _ = portal.certificate(name)
    key_vault.sign(name, version, "PS256", DIGEST)
    with pytest.raises(UpstreamUnavailable):
        key_vault.sign(f"{name}-other", version, "PS256", DIGEST)


@pytest.mark.parametrize("version", ["0" * 32, "v1"])
def test_a_wrong_version_is_unavailable(key_vault: Vault, portal: Portal, name: str, version: str) -> None:
    """A version that the vault does not have is an error of the vault's, which no retry mends."""
    portal.certificate(name)
    with pytest.raises(UpstreamUnavailable) as caught:
        key_vault.sign(name, version, "PS256", DIGEST)
    assert (caught.value.port, caught.value.retriable) == ("vault", False)


def test_a_disabled_key_is_unavailable(key_vault: Vault, portal: Portal, name: str) -> None:
    """A certificate that somebody disabled does not sign."""
    version, _ = portal.certificate(name)
    key_vault.sign(name, version, "PS256", DIGEST)
    portal.certificates.update_certificate_properties(name, version, enabled=False)
    with pytest.raises(UpstreamUnavailable) as caught:
        key_vault.sign(name, version, "PS256", DIGEST)
    assert caught.value.is_refusal_to_sign
    assert caught.value.key_unusable, "the renewal tells it from a right that is missing by this"


def test_the_key_cannot_be_exported(portal: Portal, name: str) -> None:
    """What stands under the certificate's name as a secret holds no private key."""
    portal.certificate(name)
    assert "PRIVATE KEY" not in str(portal.secrets.get_secret(name).value)


# Certificates


def test_a_certificate_is_made_as_the_renewal_needs_it(key_vault: Vault, portal: Portal, name: str) -> None:
    """Self-signed for 12 months with an RSA-2048 key that stays in the vault, which renews nothing by itself."""
    began = datetime.now(UTC)
    key_vault.create_certificate(name, "g1")
    portal.finish(name)
    found = key_vault.find_certificate(name, "g1")
    assert found is not None
    assert found.enabled
    certificate = x509.load_der_x509_certificate(found.der)
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=SOS Sign-in"
    assert timedelta(days=364) < certificate.not_valid_after_utc - began < timedelta(days=367)
    public_key = certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert public_key.key_size == 2048
    signature = key_vault.sign(name, found.version, "PS256", DIGEST)
    public_key.verify(signature, DIGEST, PADDINGS["PS256"], Prehashed(hashes.SHA256()))
    made_by = portal.certificates.get_certificate_policy(name)
    assert (made_by.exportable, made_by.reuse_key) == (False, False)
    actions = [action.action for action in made_by.lifetime_actions or []]
    assert actions == [CertificatePolicyAction.email_contacts]
    assert "PRIVATE KEY" not in str(portal.secrets.get_secret(name).value)


def test_one_certificate_at_a_time(key_vault: Vault, portal: Portal, name: str) -> None:
    """While one is in the making another is a conflict; the one that was begun comes all the same."""
    key_vault.create_certificate(name, "g1")
    with pytest.raises(Conflict):
        key_vault.create_certificate(name, "g2")
    portal.finish(name)
    assert key_vault.find_certificate(name, "g1") is not None
    assert key_vault.find_certificate(name, "g2") is None


def test_creating_leaves_nothing_running(key_vault: Vault, portal: Portal, name: str) -> None:
    """No thread goes on asking when a certificate is begun."""
    portal.certificate(name)
    before = set(threading.enumerate())
    key_vault.create_certificate(name, "g1")
    assert set(threading.enumerate()) <= before
    portal.finish(name)


def test_a_version_is_found_by_its_tag(key_vault: Vault, portal: Portal, name: str) -> None:
    """Each version bears the tag it was made with, whichever is the newest; other tags find nothing."""
    assert key_vault.find_certificate(name, "g1") is None
    found = {}
    for tag in ("g1", "g2"):
        key_vault.create_certificate(name, tag)
        portal.finish(name)
        found[tag] = key_vault.find_certificate(name, tag)
    portal.certificate(name)
    first, second = found["g1"], found["g2"]
    assert first is not None
    assert second is not None
    assert first.version != second.version
    assert key_vault.find_certificate(name, "g1") == first == key_vault.certificate(name, first.version)
    assert key_vault.find_certificate(name, "g2") == second
    assert key_vault.find_certificate(name, "g") is None
    assert key_vault.find_certificate(name, "") is None


@pytest.fixture
def pass_two_seconds(laptop: Laptop) -> Iterator[Callable[[], None]]:
    """The vault tells in whole seconds when a version was made."""
    with requests.Session() as steering:
        steering.trust_env = False

        def move(seconds: int) -> None:
            body = {"service": "vault", "offset_seconds": seconds}
            assert steering.post(f"{laptop.cloud.control_url}/clock", json=body, timeout=10).ok

        yield lambda: time.sleep(2) if REAL else move(2)
        move(0)


def test_the_first_of_two_with_one_tag_counts(
    key_vault: Vault, portal: Portal, name: str, pass_two_seconds: Callable[[], None]
) -> None:
    """An answer that was lost may have left two: the choice between them does not change when the second comes."""
    key_vault.create_certificate(name, "g1")
    portal.finish(name)
    first = key_vault.find_certificate(name, "g1")
    pass_two_seconds()
    key_vault.create_certificate(name, "g1")
    portal.finish(name)
    assert key_vault.find_certificate(name, "g1") == first


def test_a_version_that_is_not_there_is_none(key_vault: Vault, portal: Portal, name: str) -> None:
    """Neither under a name that nobody used, nor beside others; to disable it is fine."""
    assert key_vault.certificate(name, "0" * 32) is None
    portal.certificate(name)
    assert key_vault.certificate(name, "0" * 32) is None
    key_vault.disable_certificate(name, "0" * 32)


def test_a_version_without_its_certificate_is_not_there_yet(
    key_vault: Vault, portal: Portal, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the vault lists while it is being made, or was given up, cannot be used."""
    key_vault.create_certificate(name, "g1")
    portal.finish(name)
    monkeypatch.setattr(KeyVaultCertificate, "cer", None)
    assert key_vault.find_certificate(name, "g1") is None


def test_a_disabled_version_signs_no_more(key_vault: Vault, portal: Portal, name: str) -> None:
    """It can still be read and found, and says that it is disabled; the other version goes on signing. Twice is once."""
    key_vault.create_certificate(name, "g1")
    portal.finish(name)
    old = key_vault.find_certificate(name, "g1")
    assert old is not None
    new, _ = portal.certificate(name)
    for _ in range(2):
        key_vault.disable_certificate(name, old.version)
    with pytest.raises(UpstreamUnavailable):
        key_vault.sign(name, old.version, "PS256", DIGEST)
    assert key_vault.sign(name, new, "PS256", DIGEST)
    assert key_vault.certificate(name, old.version) == replace(old, enabled=False)
    assert key_vault.find_certificate(name, "g1") == replace(old, enabled=False)


def test_a_deleted_name_is_no_conflict(key_vault: Vault, portal: Portal, name: str) -> None:
    """A conflict means "wait". A name in soft delete does not come back by waiting: that is unavailable."""
    portal.certificate(name)
    portal.certificates.begin_delete_certificate(name).wait()
    with pytest.raises(UpstreamUnavailable, match="http 409") as caught:
        key_vault.create_certificate(name, "g1")
    assert not caught.value.retriable
    assert key_vault.find_certificate(name, "g1") is None
    portal.certificates.purge_deleted_certificate(name)
