"""What leaves the vault for the Owner and for the directory: a certificate, and never anything else."""

import base64
import hashlib
import re
import warnings
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from shared.ports import VaultCertificate
from shared.public_part import FILE_NAME, describe, to_pem
from shared.renewal_state import CertificateVersion

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BEGINS, ENDS = datetime(2027, 3, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sos-entra")])
CERTIFICATE = x509.CertificateBuilder(_NAME, _NAME, KEY.public_key(), 7, BEGINS, ENDS).sign(KEY, SHA256())
DER = CERTIFICATE.public_bytes(Encoding.DER)
PRIVATE = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
ONE_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/=]{1,64}\n-----END CERTIFICATE-----\n"
)


def is_one_certificate(pem: bytes) -> bool:
    """Tell whether this is one block of PEM (RFC 7468, section 5) with a certificate in it, and nothing around it."""
    if not ONE_BLOCK.fullmatch(pem):
        return False
    return len(x509.load_pem_x509_certificates(pem)) == 1


def thumb(digest: bytes) -> str:
    """Write a thumbprint by another way than the module under test."""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_the_file_to_upload() -> None:
    """It is the certificate of the vault, under the name that the manual tells the Owner."""
    pem = to_pem(DER)
    assert is_one_certificate(pem)
    assert x509.load_pem_x509_certificate(pem) == CERTIFICATE
    assert FILE_NAME == "kolkin-sos-azure.pem"


def test_a_download_holds_nothing_private() -> None:
    """Neither a block of another kind, nor a private number of the key, in any spelling."""
    pem = to_pem(DER)
    assert b"PRIVATE" not in pem
    body = base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))
    numbers = KEY.private_numbers()
    for secret in (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp):
        assert secret.to_bytes((secret.bit_length() + 7) // 8) not in body


NO_CERTIFICATE = {
    "nothing": b"",
    "text": b"a certificate",
    "its PEM": CERTIFICATE.public_bytes(Encoding.PEM),
    "a private key": PRIVATE,
    "a public key": KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "a PKCS #12 file": pkcs12.serialize_key_and_certificates(b"sos", KEY, CERTIFICATE, None, NoEncryption()),
    "a sealed PKCS #12 file": pkcs12.serialize_key_and_certificates(
        b"sos", KEY, CERTIFICATE, None, BestAvailableEncryption(b"a passphrase")
    ),
    "a certificate and its private key": DER + PRIVATE,
    "a private key and its certificate": PRIVATE + DER,
    "two certificates": DER + DER,
    "half a certificate": DER[: len(DER) // 2],
    "a certificate and a byte": DER + b"\0",
    "a certificate of an unknown version": DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1),
}


@pytest.mark.parametrize("what", NO_CERTIFICATE)
def test_what_is_no_certificate_is_refused(what: str) -> None:
    """Whatever the vault answers, nothing but a certificate comes out, and the error holds none of it."""
    for read in (to_pem, lambda der: describe(VaultCertificate("v1", der, enabled=True))):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is the library's
            read(NO_CERTIFICATE[what])
        assert "PRIVATE" not in str(caught.value)


@example(DER, 0, b"")
@example(DER, len(DER), PRIVATE)
@given(
    st.one_of(st.binary(max_size=200), st.just(DER), st.just(PRIVATE)),
    st.integers(0, 1300),
    st.binary(max_size=4),
)
def test_any_bytes_give_one_certificate_or_none(der: bytes, at: int, instead: bytes) -> None:
    """Bytes of any kind, and certificates with a few of them replaced."""
    tampered = der[:at] + instead + der[at + len(instead) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of certificates that break RFC 5280
        try:
            pem = to_pem(tampered)
        except ValueError:
            return
        assert is_one_certificate(pem)
        assert len(pem) < 2 * len(tampered)


def test_what_a_version_says_of_itself() -> None:
    """Its name in the vault, both thumbprints (RFC 7515, sections 4.1.7 and 4.1.8) and its times; nothing else is known."""
    sha1 = thumb(hashlib.sha1(DER).digest())  # noqa: S324 - x5t is SHA-1 by definition
    expected = CertificateVersion("v1", thumb(hashlib.sha256(DER).digest()), sha1, BEGINS, ENDS)
    found = describe(VaultCertificate("v1", DER, enabled=True))
    assert found == expected
    assert found.not_before.tzinfo is UTC
    assert (len(found.thumbprint), len(found.x5t)) == (43, 27)
