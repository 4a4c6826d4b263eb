"""Certificate policies: what may be asked for, and the certificate that comes of it."""

import base64
import calendar
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.certificates import self_signed
from local.cloud.key_vault.errors import bad_parameter
from local.cloud.web import Json

PEM: Final = "application/x-pem-file"
PKCS12: Final = "application/x-pkcs12"
_KEY_SIZES = (2048, 3072, 4096)
_LONGEST_MONTHS = 1200
_BACKDATED = timedelta(minutes=10)
"""Key Vault sets the beginning ten minutes back."""
_DEFAULT_KEY: Json = {"exportable": True, "kty": "RSA", "key_size": 2048, "reuse_key": False}


def complete_policy(given: Json) -> Json:
    """Fill a policy in with Key Vault's defaults. Raises VaultError (400) for what this vault cannot make."""
    key = _DEFAULT_KEY | _present(given.get("key_props"))
    x509_props = {"validity_months": 12, "key_usage": ["digitalSignature"]} | _present(
        given.get("x509_props")
    )
    secret = {"contentType": PKCS12} | _present(given.get("secret_props"))
    issuer = {"name": "Self"} | _present(given.get("issuer"))
    if key["exportable"]:
        message = "This stand-in makes only keys that are not exportable."
        raise bad_parameter(message)
    if key["kty"] != "RSA" or key["key_size"] not in _KEY_SIZES:
        message = f"This stand-in makes RSA keys of {_KEY_SIZES} bits."
        raise bad_parameter(message)
    if issuer["name"] != "Self":
        message = "This stand-in makes only self-signed certificates."
        raise bad_parameter(message)
    if secret["contentType"] not in {PEM, PKCS12}:
        message = "The secret content type is PEM or PKCS #12."
        raise bad_parameter(message)
    months = x509_props["validity_months"]
    if not isinstance(months, int) or not 1 <= months <= _LONGEST_MONTHS:
        message = "validity_months is a number of months."
        raise bad_parameter(message)
    subject_name(x509_props)
    return given | {"key_props": key, "x509_props": x509_props, "secret_props": secret, "issuer": issuer}


def subject_name(x509_props: Json) -> x509.Name:
    """Parse the subject. Raises VaultError (400)."""
    try:
        return x509.Name.from_rfc4514_string(x509_props["subject"])
    except (KeyError, ValueError) as error:
        message = "The property x509_props.subject is not a valid X.500 name."
        raise bad_parameter(message) from error


def make_key(policy: Json) -> rsa.RSAPrivateKey:
    """Make the key that a policy asks for."""
    return rsa.generate_private_key(public_exponent=65537, key_size=policy["key_props"]["key_size"])


def make_certificate(policy: Json, key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
    """Make the certificate that a policy asks for, valid from a little before now."""
    props = policy["x509_props"]
    not_after = _months_later(now, props["validity_months"])
    return self_signed(key, subject_name(props), now - _BACKDATED, not_after)


def make_csr(policy: Json, key: rsa.RSAPrivateKey) -> str:
    """Make the certificate signing request (RFC 2986) that a pending operation shows, in base64."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject_name(policy["x509_props"]))
    return base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)).decode()


def _present(properties: Json | None) -> Json:
    return {name: value for name, value in (properties or {}).items() if value is not None}


def _months_later(start: datetime, months: int) -> datetime:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)
