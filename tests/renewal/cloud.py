"""The vault and the directory of the model: what is true of them, beside what anybody has written down."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.base64url import base64url
from shared.ports import VaultCertificate, VaultSecret

REPLICAS: Final = 3
_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
"""One key for all certificates of the model: quick, and the same in every run. Who signed is written in the signature."""
_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "model")])
LIFETIME: Final = timedelta(days=365)
FAR: Final = datetime(9000, 1, 1, tzinfo=UTC)
_LEEWAY: Final = timedelta(minutes=5)
"""How far Microsoft lets the time of an assertion be off."""


def make_der(serial: int, not_before: datetime, lifetime: timedelta = LIFETIME) -> bytes:
    """Make a certificate."""
    whole = not_before.replace(microsecond=0)
    builder = x509.CertificateBuilder(_NAME, _NAME, _KEY.public_key(), serial, whole, whole + lifetime)
    return builder.sign(_KEY, None).public_bytes(Encoding.DER)


def x5t(der: bytes) -> str:
    """Compute the SHA-1 thumbprint (RFC 7515, section 4.1.7)."""
    return base64url(hashlib.sha1(der).digest())  # noqa: S324 - x5t is SHA-1 by definition


def signature(version: str, algorithm: str, digest: bytes) -> bytes:
    """Sign so that everybody can see who did."""
    return f"{version} {algorithm} {digest.hex()}".encode()


@dataclass(frozen=True, slots=True)
class Jwt:
    """A token of ours, taken apart: the version and the algorithm that signed it are None where the signature is wrong."""

    header: dict[str, Any]
    claims: dict[str, Any]
    version: str | None
    algorithm: str | None

    def is_in_time(self, now: datetime) -> bool:
        """Tell whether Microsoft takes it now."""
        not_before = datetime.fromtimestamp(self.claims["nbf"], UTC)
        expires = datetime.fromtimestamp(self.claims["exp"], UTC)
        return not_before - _LEEWAY <= now < expires + _LEEWAY


def read_jwt(token: str) -> Jwt:
    """Take a token apart."""
    header, claims, signed = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    version, algorithm, digest = signed.decode().split(" ")
    right = digest == hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()
    return Jwt(
        json.loads(header), json.loads(claims), version if right else None, algorithm if right else None
    )


@dataclass(slots=True)
class Version:
    """One version of the certificate in the vault."""

    name: str
    tag: str
    der: bytes
    not_before: datetime
    not_after: datetime
    ready_at: datetime
    enabled: bool = True

    def public(self) -> VaultCertificate:
        """Give what the vault tells of it."""
        return VaultCertificate(self.name, self.der, self.enabled)


@dataclass(slots=True)
class TrueVault:
    """What is in the vault."""

    versions: dict[str, Version] = field(default_factory=dict)
    secrets: dict[str, VaultSecret] = field(default_factory=dict)
    slow: timedelta = timedelta(0)
    """How long it takes to make a certificate."""

    def make(self, tag: str, now: datetime) -> Version:
        """Begin a version."""
        serial = len(self.versions) + 1
        der = make_der(serial, now)
        whole = now.replace(microsecond=0)
        made = Version(f"v{serial}", tag, der, whole, whole + LIFETIME, now + self.slow)
        self.versions[made.name] = made
        return made

    def is_making(self, now: datetime) -> bool:
        """Tell whether one is in the making."""
        return any(now < version.ready_at for version in self.versions.values())

    def signs(self, version: str, now: datetime) -> bool:
        """Tell whether it signs with this version."""
        found = self.versions.get(version)
        return found is not None and found.enabled and found.not_before <= now < found.not_after


@dataclass(slots=True)
class Key:
    """A certificate on the application. Each replica learns of its coming and going in its own time."""

    key_id: str
    der: bytes
    version: str
    """The version of our vault; empty for a foreign one."""
    added_at: datetime
    known_from: list[datetime]
    known_until: list[datetime] = field(default_factory=lambda: [FAR] * REPLICAS)
    is_registered: bool = True

    def is_known(self, replica: int, now: datetime) -> bool:
        """Tell whether a replica knows it."""
        return self.known_from[replica] <= now < self.known_until[replica]


@dataclass(slots=True)
class TrueDirectory:
    """What is registered on the application, and how slowly the replicas follow."""

    keys: dict[str, Key] = field(default_factory=dict)
    lags: list[timedelta] = field(default_factory=lambda: [timedelta(0)] * REPLICAS)
    refuses: bool = False
    """A policy of the tenant forbids what is asked."""
    readable: bool = False
    """The application may read itself."""

    def register(self, der: bytes, version: str, now: datetime) -> Key:
        """Add a key; a second one with the same certificate is a second one."""
        key = Key(f"key-{len(self.keys) + 1}", der, version, now, [now + lag for lag in self.lags])
        self.keys[key.key_id] = key
        return key

    def unregister(self, key: Key, now: datetime) -> None:
        """Take a key away."""
        key.is_registered = False
        key.known_until = [now + lag for lag in self.lags]

    def catch_up(self, now: datetime) -> None:
        """Let every replica know what is registered now."""
        for key in self.keys.values():
            key.known_from = [min(moment, now) for moment in key.known_from]
            if not key.is_registered:
                key.known_until = [min(moment, now) for moment in key.known_until]

    def registered(self, version: str) -> list[Key]:
        """List the keys with this version of ours."""
        return [key for key in self.keys.values() if key.is_registered and key.version == version]

    def foreign(self) -> list[Key]:
        """List the keys that others have put there."""
        return [key for key in self.keys.values() if key.is_registered and not key.version]

    def knows(self, version: str, replica: int, now: datetime) -> bool:
        """Tell whether a replica takes assertions of this version."""
        return any(key.version == version and key.is_known(replica, now) for key in self.keys.values())
