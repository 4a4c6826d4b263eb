"""Certificates: the self-signed ones of Entra and Key Vault, and the pair that https needs."""

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local.cloud.files import write_atomically

_TLS_LIFETIME = timedelta(days=365)
_TLS_RENEWED_BEFORE = timedelta(days=30)


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as PKCS #8 in PEM, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@cache  # reading a key checks its numbers anew, which costs more than everything else in a sign-in
def rsa_from_pem(pem: bytes) -> rsa.RSAPrivateKey:
    """Read an RSA private key. Raises TypeError for any other kind."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(type(key))
    return key


def self_signed(
    key: rsa.RSAPrivateKey, subject: x509.Name, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    """Make a certificate for digital signatures, signed by its own key with SHA-256."""
    return (
        _builder(key.public_key(), subject, subject, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def https_files(directory: Path) -> tuple[Path, Path, Path]:
    """Give the CA certificate, the server's chain and its key; anew when they are absent or nearly expired.

    The key of the CA is thrown away as soon as the one server certificate is signed, so that trusting the CA
    trusts nothing else.
    """
    ca_file, chain_file, key_file = (directory / name for name in ("ca.pem", "server.pem", "server-key.pem"))
    if not all(f.exists() for f in (ca_file, chain_file, key_file)) or _expires_soon(ca_file):
        now = datetime.now(UTC)
        not_before, not_after = now - timedelta(minutes=5), now + _TLS_LIFETIME
        ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Laptop cloud, throw-away CA")])
        ca = (
            _builder(ca_key.public_key(), ca_name, ca_name, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        hosts = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(ip)) for ip in ("127.0.0.1", "::1"))]
        server = (
            _builder(server_key.public_key(), server_name, ca_name, not_before, not_after)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        write_atomically(key_file, private_pem(server_key))
        write_atomically(chain_file, server.public_bytes(serialization.Encoding.PEM))
        write_atomically(ca_file, ca.public_bytes(serialization.Encoding.PEM))
    return ca_file, chain_file, key_file


def _expires_soon(file: Path) -> bool:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    return certificate.not_valid_after_utc - datetime.now(UTC) < _TLS_RENEWED_BEFORE


def _builder(
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )
