"""Signed tokens: a strict reading of the compact JWS (RFC 7515), and nothing believed before the signature.

Two rules. What a token is made of is checked here, before anything in it is looked at (RFC 8725, section 3);
what a signature is worth is decided by PyJWT, with an algorithm that the caller fixes. The token chooses
nothing: only `alg`, `typ` and `kid` of its header leave this module, so a key or an address that the header
carries (`jwk`, `jku`, `x5c`, `x5u`) has nobody to use it.

PyJWT is imported at the first signature: it costs about 45 ms on top of `cryptography` (its package pulls in
`urllib` and `ssl` for a client that is not used here), and a first `/login` needs no signature.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from shared.base64url import base64url, from_base64url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt.algorithms import Algorithm

MAX_TOKEN_CHARACTERS = 16 * 1024
"""Far above a real token (an ID token of Entra has about 2,000), far below what costs anything to read."""

MAX_BRACKETS = 256
"""Opening brackets in one JSON text: a bound on nesting that holds before parsing. Real tokens have < 10.

Brackets in strings count as well, so there is room for a name that is made of them.
"""

MAX_INTEGER_CHARACTERS = 16
"""Up to 2^53: what every JSON reader agrees on (RFC 7493, section 2.2). A date in seconds has 10 digits."""

MAX_KEY_ID_CHARACTERS = 255


class Kind(StrEnum):
    """What is wrong with a token."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    DUPLICATE_MEMBER = "duplicate_member"
    HEADER = "header"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"


class InvalidToken(Exception):
    """The token is not a JWS that this module accepts; `kind` says why, and nothing of the token is inside.

    It is always raised outside of `except` blocks: errors of parsers hold the text they could not parse.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Unverified:
    """A well-formed token whose signature nobody has looked at: nothing in it is to be believed.

    `type` is empty where the header has no `typ`.
    """

    algorithm: str
    type: str
    key_id: str | None
    claims: Mapping[str, object] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read(token: str) -> Unverified:
    """Take a compact JWS apart (RFC 7515, section 5.2, steps 1 to 5). Raises InvalidToken."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidToken(Kind.TOO_LARGE)
    parts = token.split(".", 3)
    if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature (RFC 7515, section 3.1); five are a JWE
        raise InvalidToken(Kind.MALFORMED)
    header = _header(parts[0])
    claims = _object(decode_base64url(parts[1]))
    signature = decode_base64url(parts[2])
    return Unverified(*header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def verify(
    token: Unverified,
    key: "RSAPublicKey | EllipticCurvePublicKey",
    algorithm: Literal["RS256", "ES256"],
) -> None:
    """Check that `key` made the token's signature. Raises InvalidToken.

    The header must name the algorithm that the caller fixed (RFC 8725, section 3.1). Raises TypeError or
    PyJWT's InvalidKeyError for a key of another kind or curve: a fault of the caller, not of the token.
    """
    if token.algorithm != algorithm:
        raise InvalidToken(Kind.ALGORITHM)
    method = _method(algorithm)
    if not method.verify(token.signing_input, method.prepare_key(key), token.signature):
        raise InvalidToken(Kind.SIGNATURE)


def sign(header: Mapping[str, object], claims: Mapping[str, object], key: "EllipticCurvePrivateKey") -> str:
    """Make a token signed with ES256, by a key on P-256. `header` needs no `alg`."""
    method = _method("ES256")
    unsigned = signing_input({**header, "alg": "ES256"}, claims)
    return attach(unsigned, method.sign(unsigned, method.prepare_key(key)))


def signing_input(header: Mapping[str, object], claims: Mapping[str, object]) -> bytes:
    """Answer the bytes to sign (RFC 7515, section 5.1, step 5), for a signature that is made elsewhere."""
    return b".".join(base64url(_ENCODER.encode(part).encode()).encode() for part in (header, claims))


def attach(unsigned: bytes, signature: bytes) -> str:
    """Answer the token: what `signing_input` gave, and its signature in the form of RFC 7518."""
    return (unsigned + b"." + base64url(signature).encode()).decode()


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding. Raises InvalidToken for any other spelling."""
    try:
        data = from_base64url(text)
    except ValueError:
        data = None
    if data is None:
        raise InvalidToken(Kind.MALFORMED)
    return data


@lru_cache(maxsize=32)  # all session tokens of one key have the same header: a third of the time of `read`
def _header(text: str) -> tuple[str, str, str | None]:
    header = _object(decode_base64url(text))
    if "crit" in header or "b64" in header:  # we understand no extension (RFC 7515, section 4.1.11; RFC 7797)
        raise InvalidToken(Kind.HEADER)
    algorithm, kind, key_id = header.get("alg"), header.get("typ", ""), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(kind, str):
        raise InvalidToken(Kind.HEADER)
    if key_id is None:
        if "kid" in header:
            raise InvalidToken(Kind.HEADER)
    elif not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS:
        raise InvalidToken(Kind.HEADER)
    return algorithm, kind, key_id


@cache
def _method(algorithm: str) -> "Algorithm":
    from jwt.algorithms import get_default_algorithms  # noqa: PLC0415 - see the module's docstring

    return get_default_algorithms()[algorithm]


def _object(data: bytes) -> dict[str, object]:
    if data.count(b"{") + data.count(b"[") > MAX_BRACKETS:
        raise InvalidToken(Kind.MALFORMED)
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:
            _ENCODER.encode(value).encode()  # fails on half a surrogate pair, which could be stored nowhere
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidToken(Kind.MALFORMED)
    return value


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):  # readers differ about which one counts (RFC 7515, section 4)
        raise InvalidToken(Kind.DUPLICATE_MEMBER)
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_CHARACTERS:
        raise InvalidToken(Kind.MALFORMED)
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # 1e999 is JSON, and infinite; NaN and Infinity are not even JSON
        raise InvalidToken(Kind.MALFORMED)
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_number
)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
