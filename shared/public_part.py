"""The public part of a certificate: what it says of itself, and the file that the Owner uploads to Microsoft."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.base64url import base64url
from shared.ports import VaultCertificate
from shared.renewal_state import CertificateVersion

FILE_NAME = "kolkin-sos-azure.pem"


def describe(made: VaultCertificate) -> CertificateVersion:
    """Read what a version of the vault says of itself. Raises ValueError for what is no certificate."""
    public = _parse(made.der)
    return CertificateVersion(
        version=made.version,
        thumbprint=base64url(hashlib.sha256(made.der).digest()),
        x5t=base64url(hashlib.sha1(made.der).digest()),  # noqa: S324 - x5t is SHA-1 by definition
        not_before=public.not_valid_before_utc,
        not_after=public.not_valid_after_utc,
    )


def to_pem(der: bytes) -> bytes:
    """Write a certificate for "Certificates & secrets" in the portal (RFC 7468). Raises ValueError for anything else.

    It is parsed and written anew, so that nothing but a certificate can come out.
    """
    return _parse(der).public_bytes(Encoding.PEM)


def _parse(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None
