"""The certificate that proves the application to Microsoft, and the client assertions it signs (RFC 7523, section 3).

The private key stays in the vault, which signs each assertion. Which version is used is our own row in the store, never
the vault's newest: a version that Microsoft does not know yet would fail every sign-in.
"""

import hashlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from shared.base64url import base64url
from shared.errors import NotConfigured, UpstreamUnavailable
from shared.jws import attach, signing_input
from shared.ports import Clock, Row, Store, Table, Value, Vault
from shared.refreshed import BACK_OFF

CERTIFICATE_NAME: Final = "sos-entra"
"""The name of the certificate in the vault."""
_BACKDATED: Final = timedelta(minutes=2)
"""`nbf` lies this far back, so that a clock that runs ahead does not make an assertion from the future."""
_LIVES_FOR: Final = timedelta(minutes=8)
"""With the backdating, the 10 minutes that MSAL gives its own assertions."""
_REUSED_FOR: Final = timedelta(minutes=5)

_PARTITION, _KEY = "settings", "certificate"


@dataclass(frozen=True, slots=True)
class CertificateVersion:
    """One version of the certificate: its name in the vault, its SHA-256 thumbprint (base64url), its last moment."""

    version: str
    thumbprint: str
    not_after: datetime


def thumbprint(der: bytes) -> str:
    """Compute the `x5t#S256` of a certificate (RFC 7515, section 4.1.8)."""
    return base64url(hashlib.sha256(der).digest())


def read_current(store: Store) -> CertificateVersion:
    """Read which version signs. Raises NotConfigured while there is none."""
    row = store.get(Table.SETTINGS, _PARTITION, _KEY)
    if row is None:
        raise NotConfigured("certificate")
    return CertificateVersion(
        str(row.values["version"]), str(row.values["thumbprint"]), row.time("not_after")
    )


def use_version(store: Store, current: CertificateVersion) -> None:
    """Make a version the one that signs. Raises Conflict when somebody else did so at the same moment."""
    row = store.get(Table.SETTINGS, _PARTITION, _KEY)
    values: dict[str, Value] = {
        "version": current.version,
        "thumbprint": current.thumbprint,
        "not_after": current.not_after,
    }
    if row is None:
        store.insert(Table.SETTINGS, Row(_PARTITION, _KEY, values))
    else:
        store.replace(Table.SETTINGS, Row(_PARTITION, _KEY, values, row.etag))


def adopt(store: Store, vault: Vault, version: str, pem: bytes) -> CertificateVersion:
    """Sign with a version of the vault from now on. `pem` is its public part.

    Raises ValueError when that is no certificate, or not of the key that the vault signs with: every sign-in would fail.
    """
    public = x509.load_pem_x509_certificate(pem)
    if not _signs_for(public, vault, version):
        raise ValueError("This certificate does not belong to that version in the vault.")
    adopted = CertificateVersion(
        version, thumbprint(public.public_bytes(Encoding.DER)), public.not_valid_after_utc
    )
    use_version(store, adopted)
    return adopted


def _signs_for(public: x509.Certificate, vault: Vault, version: str) -> bool:
    key, sample = public.public_key(), hashlib.sha256(version.encode()).digest()
    signature = vault.sign(CERTIFICATE_NAME, version, "PS256", sample)
    if not isinstance(key, RSAPublicKey):
        return False
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    try:
        key.verify(signature, sample, pss, Prehashed(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


class ClientAssertions:
    """Makes client assertions and reuses each while it is fresh, so that a warm sign-in does not ask the vault."""

    def __init__(self, sign: Callable[[str, bytes], bytes], clock: Clock) -> None:
        """Take `sign(version, digest)`, which signs a SHA-256 digest with PS256."""
        self._sign = sign
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str, str], tuple[datetime, str]] = {}
        self._failed: tuple[datetime, UpstreamUnavailable] | None = None

    def make(self, client_id: str, audience: str, certificate: CertificateVersion) -> str:
        """Give an assertion with at least 3 minutes to live. `audience` is the token endpoint."""
        wanted = (client_id, audience, certificate.version)
        with self._lock:  # one signature when many sign in at once
            now = self._clock()
            made_at, assertion = self._made.get(wanted, (None, ""))
            # A clock that was set back must not keep an assertion that Microsoft sees as expired.
            if made_at is not None and made_at <= now < made_at + _REUSED_FOR:
                return assertion
            if self._failed and timedelta(0) <= now - self._failed[0] < BACK_OFF:
                raise self._failed[1].with_traceback(
                    None
                )  # who waited for the lock does not wait for the vault as well
            unsigned = _unsigned(client_id, audience, certificate.thumbprint, now)
            try:
                signature = self._sign(certificate.version, hashlib.sha256(unsigned).digest())
            except UpstreamUnavailable as error:
                self._failed = (self._clock(), error)
                raise
            assertion = attach(unsigned, signature)
            self._made = {wanted: (now, assertion)}
            return assertion

    def forget(self) -> None:
        """Drop what is kept: Microsoft refused it."""
        with self._lock:
            self._made = {}


def _unsigned(client_id: str, audience: str, x5t_s256: str, now: datetime) -> bytes:
    issued = int(now.timestamp())
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": x5t_s256}
    claims = {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid.uuid4()),
        "iat": issued,
        "nbf": issued - int(_BACKDATED.total_seconds()),
        "exp": issued + int(_LIVES_FOR.total_seconds()),
    }
    return signing_input(header, claims)
