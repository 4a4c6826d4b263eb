"""The keys that ID tokens are signed with, and the key set that publishes them."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.certificates import private_pem, rsa_from_pem, self_signed
from local.cloud.encoding import to_base64url
from local.cloud.web import Json

_SUBJECT = x509.Name.from_rfc4514_string("CN=accounts.accesscontrol.windows.net")
_LIFETIME = timedelta(days=5 * 365)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key with its certificate; `kid` is the certificate's SHA-1 thumbprint, as at Microsoft."""

    kid: str
    pem: str
    certificate_base64: str

    def jwk(self, issuer: str) -> Json:
        """Give the public key as Entra publishes it (RFC 7517), with the issuer it signs for."""
        numbers = rsa_from_pem(self.pem.encode()).public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": to_base64url(numbers.n.to_bytes(256)),
            "e": to_base64url(numbers.e.to_bytes(3)),
            "x5c": [self.certificate_base64],
            "issuer": issuer,
        }


def new_signing_key(now: datetime) -> SigningKey:
    """Make a key that is valid from now."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = self_signed(key, _SUBJECT, now, now + _LIFETIME)
    return SigningKey(
        kid=to_base64url(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 - x5t is SHA-1 by definition
        pem=private_pem(key).decode(),
        certificate_base64=base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
    )
