"""The provider's signing keys: choose, refresh, keep the last good ones.

Two rules. Keys that work are not given up: a failed or unusable answer changes nothing, and a key that is no
longer published stays for KEEP_KEY_FOR (a token signed just before a rollover is good). And a token cannot
make us call the provider at will: an unknown key is looked for at once, but only once in COOL_DOWN.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from shared import jws
from shared.errors import UpstreamUnavailable
from shared.ports import Clock
from shared.refreshed import BACK_OFF, Refreshed, start_thread

REFRESH_EVERY = timedelta(hours=1)
"""New keys of Entra are published long before they sign, so a request hardly ever waits for one."""

COOL_DOWN = timedelta(minutes=5)
"""Between two searches for unknown keys that the provider answered. After one that failed it is BACK_OFF."""

KEEP_KEY_FOR = timedelta(hours=24)
"""How long a key is used after it was last seen in the provider's answer."""

MIN_MODULUS_BITS = 2048
"""RFC 7518, section 3.3."""

MAX_MODULUS_BITS = 8192
"""A larger one costs more to use than any provider asks for."""

MIN_EXPONENT = 65537
MAX_EXPONENT_BITS = 256
"""FIPS 186-5, section 5.4."""

_PORT = "microsoft"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that may verify RS256. `key_id` is None where the key set gives none."""

    key_id: str | None
    public_key: RSAPublicKey


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys to verify ID tokens with. Raises UpstreamUnavailable when there is none, or two of one id."""

    keys: tuple[SigningKey, ...]

    def __post_init__(self) -> None:
        ids = [key.key_id for key in self.keys if key.key_id is not None]
        problem = "" if self.keys else "none for RS256"
        if len(ids) != len(set(ids)):
            problem = "two with one id"
        if problem:
            raise UpstreamUnavailable(_PORT, f"signing keys: {problem}", retriable=False)

    @classmethod
    def parse(cls, jwks: Mapping[str, object]) -> Self:
        """Read the RS256 keys of a JSON Web Key Set (RFC 7517, section 5). Raises as the class says.

        Keys for something else, too weak ones and ones that make no sense are passed over, as the RFC asks.
        """
        entries = jwks.get("keys")
        if not isinstance(entries, list):
            entries = []
        return cls(tuple(key for entry in entries if (key := _parse_key(entry)) is not None))

    def candidates(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """Answer the keys that a token may mean: the one of that id, or all for a token that names none."""
        return tuple(key for key in self.keys if key_id is None or key.key_id == key_id)


def _parse_key(entry: object) -> SigningKey | None:
    if not isinstance(entry, Mapping) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    key_id, modulus, exponent = entry.get("kid"), _integer(entry.get("n")), _integer(entry.get("e"))
    if key_id is not None and not isinstance(key_id, str):
        return None
    sane_modulus = MIN_MODULUS_BITS <= modulus.bit_length() <= MAX_MODULUS_BITS and modulus % 2
    if not sane_modulus or exponent < MIN_EXPONENT or exponent.bit_length() > MAX_EXPONENT_BITS:
        return None
    try:
        return SigningKey(key_id, RSAPublicNumbers(exponent, modulus).public_key())
    except ValueError:  # an even exponent, or what else `cryptography` finds wrong
        return None


def _integer(value: object) -> int:
    """Read a Base64urlUInt (RFC 7518, section 2); 0, which no rule accepts, for anything else."""
    try:
        return int.from_bytes(jws.decode_base64url(value)) if isinstance(value, str) else 0
    except jws.InvalidToken:
        return 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known after a fetch: the keys in the answer, and these with the ones that are still kept."""

    published: KeySet
    usable: KeySet


class SigningKeys:
    """The provider's keys, as fresh as a token needs them. One instance per tenant, for all threads.

    `fetch` answers the key set document, or raises UpstreamUnavailable. `spawn` runs work in the background.
    """

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, object]],
        clock: Clock,
        spawn: Callable[[Callable[[], None]], None] = start_thread,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._seen: dict[str, tuple[SigningKey, datetime]] = {}  # written by one load at a time
        self._known = Refreshed(self._load, clock, REFRESH_EVERY, spawn=spawn)
        self._search = threading.Lock()  # held during a search: who waits finds the outcome of it
        self._no_search_until: datetime | None = None

    def candidates(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """Answer the keys that a token may mean, as `KeySet.candidates` does.

        Waits for the provider only when no keys are known, or `key_id` is not among them and COOL_DOWN has
        passed. Raises UpstreamUnavailable only when no keys are known at all.
        """
        known = self._known.get()
        if key_id is None:
            # A key that is merely kept does not make the only published one ambiguous.
            return known.published.candidates(None)
        return known.usable.candidates(key_id) or self._search_for(key_id)

    def _search_for(self, key_id: str) -> tuple[SigningKey, ...]:
        with self._search:
            if self._may_search():
                pause = COOL_DOWN
                try:
                    self._known.refresh()
                except UpstreamUnavailable:
                    pause = BACK_OFF
                self._no_search_until = self._clock() + pause
        return self._known.get().usable.candidates(key_id)

    def _may_search(self) -> bool:
        now, until = self._clock(), self._no_search_until
        # A pause that ends later than any we make comes from a clock that was set back.
        return until is None or not now < until <= now + COOL_DOWN

    def _load(self) -> _Known:
        published = KeySet.parse(self._fetch())
        now = self._clock()
        seen_now = {key.key_id: (key, now) for key in published.keys if key.key_id is not None}
        both = {**self._seen, **seen_now}
        self._seen = {key_id: (key, at) for key_id, (key, at) in both.items() if now - at < KEEP_KEY_FOR}
        unnamed = (key for key in published.keys if key.key_id is None)
        return _Known(published, KeySet((*unnamed, *(key for key, _ in self._seen.values()))))
