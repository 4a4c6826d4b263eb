"""The key ring: the keys that sign session tokens and seal login transactions. One secret in the vault.

A key is published before it signs (`signs_from` lies ahead), and stays published after its successor took over, so
that an application that reads the key set now and then never meets a token it cannot verify.

A key signs for 30 days, longer where nobody looks after the ring. The rule is `KeyRing.rotated`; it needs to be asked
once a day.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.base64url import base64url, from_base64url
from shared.secret import Secret

SECRET_NAME = "sos-session-keys"  # noqa: S105 - the name of the secret, not the secret
KEY_ID_LENGTH = 8
_SCALAR_BYTES = 32  # P-256, FIPS 186-5

SIGNS_FOR: Final = timedelta(days=30)
PUBLISHED_AHEAD: Final = timedelta(days=2)
"""A new key signs nothing before everybody can know it: instances read the ring every 10 minutes, applications the key
set every hour, and both may be cut off from us for a day."""
KEPT_FOR: Final = timedelta(days=1)
"""How long a key stays after its successor began to sign. What it signed or sealed is worth nothing by then: a login
transaction lives 10 minutes (`transaction.LIFETIME`), a token 10 minutes (`session.TOKEN_LIFETIME`), and an expired one
can be renewed for an hour (`session.IDLE_LIMIT`). The rest is for an instance that could not read the ring meanwhile."""
_ADDED_AHEAD: Final = timedelta(days=3)
"""A day more than PUBLISHED_AHEAD: a ring that is looked after once a day changes keys when their time comes."""
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class RingKey:
    """One key pair on the curve P-256. It signs from `signs_from` until its successor does."""

    key_id: str
    private_key: ec.EllipticCurvePrivateKey
    signs_from: datetime

    @classmethod
    def generate(cls, signs_from: datetime) -> Self:
        """Make a new key with an id of its own."""
        key_id = secrets.token_urlsafe(KEY_ID_LENGTH)[:KEY_ID_LENGTH]
        return cls(key_id, ec.generate_private_key(ec.SECP256R1()), signs_from)

    @cached_property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The half that verifies."""
        return self.private_key.public_key()

    @cached_property
    def sealing_key(self) -> bytes:
        """The AES-256 key for login transactions, derived (RFC 5869) so that the two uses share no key."""
        scalar = self.private_key.private_numbers().private_value.to_bytes(_SCALAR_BYTES, "big")
        return HKDF(hashes.SHA256(), 32, salt=None, info=b"sos login transaction").derive(scalar)

    def public_jwk(self) -> dict[str, str]:
        """Write the public key as a JSON Web Key (RFC 7517, RFC 7518 section 6.2.1)."""
        numbers = self.public_key.public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "use": "sig",
            "alg": "ES256",
            "kid": self.key_id,
            "x": base64url(numbers.x.to_bytes(_SCALAR_BYTES, "big")),
            "y": base64url(numbers.y.to_bytes(_SCALAR_BYTES, "big")),
        }


@dataclass(frozen=True)
class KeyRing:
    """The keys, oldest first."""

    keys: tuple[RingKey, ...]

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """Make a ring with one key that signs at once: the very first."""
        return cls((RingKey.generate(now),))

    def rotated(self, now: datetime) -> Self | None:
        """Give the ring without the keys that are over and with the next one, once that is due; None where nothing is.

        It has two keys at most: whatever came before a key is dropped long before its successor is added.
        """
        over = sum(now - successor.signs_from > KEPT_FOR for successor in self.keys[1:])
        kept = self.keys[over:]
        newest_until = self.keys[-1].signs_from + SIGNS_FOR
        if newest_until - now > _ADDED_AHEAD:
            return type(self)(kept) if over else None
        # The secret knows whole seconds: none of the two days is lost to that.
        signs_from = max(newest_until, now + PUBLISHED_AHEAD + _SECOND).replace(microsecond=0)
        return type(self)((*kept, RingKey.generate(signs_from)))

    @classmethod
    def from_secret(cls, secret: Secret) -> Self:
        """Read the ring as `to_secret` wrote it. Raises ValueError for anything else."""
        try:
            found = json.loads(secret.reveal())["keys"]
            keys = tuple(_read_key(entry) for entry in found)
        except (KeyError, TypeError, ValueError, ArithmeticError, OSError):
            keys = ()
        if not keys:
            # Without a cause: the parser's message could show a part of a key.
            raise ValueError("the key ring in the vault is not readable") from None
        return cls(tuple(sorted(keys, key=lambda key: key.signs_from)))

    def to_secret(self) -> Secret:
        """Write the ring for the vault."""
        entries = [
            {
                "kid": key.key_id,
                "d": base64url(
                    key.private_key.private_numbers().private_value.to_bytes(_SCALAR_BYTES, "big")
                ),
                "signs_from": int(key.signs_from.timestamp()),
            }
            for key in self.keys
        ]
        return Secret(json.dumps({"keys": entries}))

    def signing_key(self, now: datetime) -> RingKey:
        """Give the newest key whose time has come; the oldest when the clock is before all of them."""
        return next((key for key in reversed(self.keys) if key.signs_from <= now), self.keys[0])

    def find(self, key_id: str) -> RingKey | None:
        """Give the key of this id, or None."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    @cached_property
    def sealing_keys(self) -> Mapping[str, bytes]:
        """The keys that open login transactions, by key id."""
        return {key.key_id: key.sealing_key for key in self.keys}

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Write the JSON Web Key Set that applications verify session tokens with."""
        return {"keys": [key.public_jwk() for key in self.keys]}


def _read_key(entry: Mapping[str, object]) -> RingKey:
    scalar = int.from_bytes(from_base64url(str(entry["d"])), "big")
    private_key = ec.derive_private_key(scalar, ec.SECP256R1())
    signs_from = datetime.fromtimestamp(int(str(entry["signs_from"])), UTC)
    key_id = str(entry["kid"])
    if len(key_id) != KEY_ID_LENGTH:
        raise ValueError
    return RingKey(key_id, private_key, signs_from)
