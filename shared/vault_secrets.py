"""The secrets that this product makes for itself: the key ring of sessions and the pepper of passwords.

Each is made once, by the first process that finds it missing. A vault has no compare-and-swap, so a row in the store decides
who makes it; the others ask people to try again in a moment. A maker that died is replaced after five minutes.

A rotation of the key ring needs no such row. Of two at once each adds a key of its own, and the last write wins. The key
that is lost has signed nothing: it would have begun two days later, and whoever read it reads the ring again within
minutes. All that a late write can bring back is a key that was over. Nor does a rotation meet a maker: with a ring that is
new it has nothing to do for weeks.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import Conflict, UpstreamUnavailable
from shared.key_ring import SECRET_NAME as KEY_RING_NAME
from shared.key_ring import KeyRing
from shared.ports import Clock, Row, Store, Table, Vault
from shared.secret import Secret

PEPPER_NAME = "sos-pepper"
_PARTITION = "secrets"
_MAKER_GIVEN_UP_AFTER = timedelta(minutes=5)
"""Far longer than three calls to the vault with all their retries: a slow maker must not overwrite the next one's."""


@dataclass(frozen=True, slots=True)
class Pepper:
    """The keyed part of password hashes, and keys derived from it (RFC 5869) that may live as long as it does."""

    password: Secret
    throttle_key: bytes = field(repr=False)
    device_key: bytes = field(repr=False)
    form_key: bytes = field(repr=False)


def load_key_ring(store: Store, vault: Vault, clock: Clock) -> KeyRing:
    """Read the key ring, made when missing. Raises UpstreamUnavailable while another process makes it."""
    now = clock()
    return KeyRing.from_secret(
        _load(store, vault, KEY_RING_NAME, lambda: KeyRing.generate(now).to_secret(), now)
    )


def rotate_key_ring(vault: Vault, now: datetime) -> bool:
    """Write the ring as it should be now, if it is not; True when it was written.

    A missing ring is left to whoever needs it first. Raises ValueError when the vault holds something else.
    """
    found = vault.secret(KEY_RING_NAME)
    rotated = KeyRing.from_secret(found.value).rotated(now) if found is not None else None
    if rotated is None:
        return False
    vault.set_secret(KEY_RING_NAME, rotated.to_secret())
    return True


def load_pepper(store: Store, vault: Vault, clock: Clock) -> Pepper:
    """Read the pepper, made when missing. Raises UpstreamUnavailable while another process makes it."""
    secret = _load(store, vault, PEPPER_NAME, lambda: Secret(secrets.token_urlsafe(32)), clock())
    material = secret.reveal().encode()
    throttle_key, device_key, form_key = (
        _derive(material, purpose) for purpose in (b"sos throttle", b"sos device", b"sos form")
    )
    return Pepper(secret, throttle_key, device_key, form_key)


def _load(store: Store, vault: Vault, name: str, make: Callable[[], Secret], now: datetime) -> Secret:
    found = vault.secret(name)
    if found is None:
        _become_maker(store, name, now)
        # Whoever was the maker before may have finished, or died after writing: a second secret would undo the first.
        found = vault.secret(name)
    if found is None:
        vault.set_secret(name, make())
        found = vault.secret(name)
    if found is None:
        raise UpstreamUnavailable("vault", f"{name} is not readable after it was written")
    return found.value


def _become_maker(store: Store, name: str, now: datetime) -> None:
    mine = Row(_PARTITION, name, {"until": now + _MAKER_GIVEN_UP_AFTER})
    try:
        row = store.get(Table.SETTINGS, _PARTITION, name)
        if row is None:
            store.insert(Table.SETTINGS, mine)
            return
        until = row.values["until"]
        if isinstance(until, datetime) and now >= until:
            store.replace(Table.SETTINGS, Row(mine.partition, mine.key, mine.values, row.etag))
            return
    except Conflict:
        pass
    raise UpstreamUnavailable("vault", f"{name} is being made", retry_after=timedelta(seconds=2))


def _derive(material: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=purpose).derive(material)
