"""Which certificate may be made the one that signs: the vault must sign with its key."""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.certificate import CERTIFICATE_NAME, CertificateVersion, adopt, read_current, use_version
from shared.errors import NotConfigured, UpstreamUnavailable
from tests.house import PaperVault
from tests.memory import MemoryStore

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ANOTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())
ENDS = datetime(2028, 3, 1, tzinfo=UTC)
VERSION = "0123456789abcdef0123456789abcdef"
BEFORE = CertificateVersion("before", "a-thumbprint", datetime(2027, 6, 1, tzinfo=UTC))


class SigningVault(PaperVault):
    """A vault that signs with a real key, as Key Vault does for PS256 (RFC 7518, section 3.5)."""

    def sign(self, key: str, version: str, algorithm: Literal["PS256", "RS256"], digest: bytes) -> bytes:
        """Sign a SHA-256 digest; nothing but the version that was imported."""
        if self.away or (key, version, algorithm) != (CERTIFICATE_NAME, VERSION, "PS256"):
            raise UpstreamUnavailable("vault", "no such version")
        return KEY.sign(digest, padding.PSS(padding.MGF1(SHA256()), 32), utils.Prehashed(SHA256()))


def self_signed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Make the certificate of a key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sos-entra")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, datetime(2027, 3, 1, tzinfo=UTC), ENDS)
    return builder.sign(key, SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    """Write a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def test_the_certificate_of_the_key_that_signs_is_adopted() -> None:
    """Its version, thumbprint (RFC 7515, section 4.1.8) and end are what sign-ins use from now on."""
    store, certificate = MemoryStore(), self_signed(KEY)
    use_version(store, BEFORE)
    adopted = adopt(store, SigningVault(), VERSION, pem(certificate))
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    expected = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert adopted == CertificateVersion(VERSION, expected, ENDS)
    assert read_current(store) == adopted


@pytest.mark.parametrize(
    "public",
    [
        pem(self_signed(ANOTHER_KEY)),
        pem(self_signed(CURVE_KEY)),
        self_signed(KEY).public_bytes(Encoding.DER),
        b"",
        b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n",
    ],
    ids=["another key", "not RSA", "not PEM", "empty", "rubbish"],
)
def test_any_other_certificate_is_refused(public: bytes) -> None:
    """Microsoft would refuse every assertion, so the version in use stays what it was."""
    store = MemoryStore()
    use_version(store, BEFORE)
    with pytest.raises(ValueError, match=r"."):
        adopt(store, SigningVault(), VERSION, public)
    assert read_current(store) == BEFORE


@pytest.mark.parametrize(("version", "away"), [("another", False), (VERSION, True)])
def test_without_a_signature_of_the_vault_nothing_is_adopted(version: str, *, away: bool) -> None:
    """A version that the vault does not have, or a vault that is away, leaves the store as it was."""
    store, vault = MemoryStore(), SigningVault(away=away)
    with pytest.raises(UpstreamUnavailable):
        adopt(store, vault, version, pem(self_signed(KEY)))
    with pytest.raises(NotConfigured):
        read_current(store)
