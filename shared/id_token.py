"""WHAT makes a token valid: the ID token that Microsoft Entra gives for a code (version 2.0, one tenant).

Two rules. `validate_id_token` is the only maker of `VerifiedClaims`, so whoever holds one holds checked
claims. Every refusal is an `InvalidIdToken` with a member of `Kind`, and nothing of the token is in it.

The numbers in the code are the steps of OpenID Connect Core 1.0, section 3.1.3.7:

     1  decryption: none is registered; a token in five parts is `malformed`
     2  `iss` is exactly the tenant's issuer
     3  `aud` is exactly our client id
    4,5 `azp`, where present, is our client id
     6  the signature is good, whatever the transport
     7  the algorithm is RS256, fixed here
     8  (keyed hashes: not accepted, see 7)
     9  `exp` is in the future
    10  `iat` is near
    11  `nonce` is the one that was sent
    12  (`acr`: none is asked for)
    13  `auth_time`: read here; whoever needs a recent sign-in compares it

They run in another order: the signature first, so that no rule judges claims that anybody may have written.
Identifiers (GUIDs included) are compared exactly: Entra writes GUIDs in lower case, and so do our settings.
"""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hmac import compare_digest
from typing import Final, Protocol

from shared import jws
from shared.errors import InvalidIdToken
from shared.principal import Principal
from shared.signing_keys import SigningKey

LEEWAY = timedelta(seconds=60)
"""For clocks that differ. Hosts keep time to well under a second; a minute also bears a neglected laptop."""

MAX_AGE = timedelta(minutes=15)
"""Since `iat`. The token is made when the code is redeemed, and Entra dates it back by 5 minutes."""

MAX_IDENTIFIER_CHARACTERS = 255
"""OpenID Connect Core 1.0, section 2, `sub`. The other identifiers of Entra are shorter."""

MAX_LOGIN_HINT_CHARACTERS = 1024
MAX_NAME_CHARACTERS = 128

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Not printable by themselves, and needed to write names in Persian and in Indian scripts."""


class Kind(StrEnum):
    """Why an ID token is refused. Stable: logs, help texts and test vectors use these words."""

    # The form of the token (RFC 7515, RFC 8725)
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    DUPLICATE_MEMBER = "duplicate_member"
    HEADER = "header"  # an extension we do not know, or a member of the wrong type
    TYPE = "type"  # another kind of token
    # The signature
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    AMBIGUOUS_KEY = "ambiguous_key"  # no `kid`, and more than one key
    SIGNATURE = "signature"
    # Between whom
    MISSING_ISS = "missing_iss"
    ISSUER = "issuer"
    MISSING_AUD = "missing_aud"
    AUDIENCE = "audience"
    AZP = "azp"
    # When
    MISSING_EXP = "missing_exp"
    MALFORMED_EXP = "malformed_exp"
    EXPIRED = "expired"
    MISSING_NBF = "missing_nbf"
    MALFORMED_NBF = "malformed_nbf"
    NOT_YET_VALID = "not_yet_valid"
    MISSING_IAT = "missing_iat"
    MALFORMED_IAT = "malformed_iat"
    ISSUED_IN_FUTURE = "issued_in_future"
    TOO_OLD = "too_old"
    MALFORMED_AUTH_TIME = "malformed_auth_time"
    # For which request
    MISSING_NONCE = "missing_nonce"
    NONCE = "nonce"
    # What Microsoft adds
    MISSING_VER = "missing_ver"
    VERSION = "version"
    MISSING_TID = "missing_tid"
    TENANT = "tenant"
    # Who
    MISSING_OID = "missing_oid"
    MALFORMED_OID = "malformed_oid"
    MISSING_SUB = "missing_sub"
    MALFORMED_SUB = "malformed_sub"
    MALFORMED_NAME = "malformed_name"
    MALFORMED_ROLES = "malformed_roles"
    MALFORMED_SID = "malformed_sid"
    MALFORMED_LOGIN_HINT = "malformed_login_hint"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the token must say. `nonce` is the value expected in the token. No member may be empty."""

    issuer: str
    client_id: str
    tenant_id: str
    nonce: str = field(repr=False)

    def __post_init__(self) -> None:
        empty = [member.name for member in fields(self) if not getattr(self, member.name)]
        if empty:  # an empty expectation would be met by an empty claim
            raise ValueError(empty)


_VALIDATED: Final = object()


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """What a validated ID token says. Only `validate_id_token` can make one.

    `principal` decides who it is; `name` is for display only. What the token does not have is '', () or None.
    """

    principal: Principal
    subject: str
    name: str = field(repr=False)
    roles: tuple[str, ...]
    provider_session: str
    login_hint: str = field(repr=False)
    auth_time: datetime | None
    issued_at: datetime
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _VALIDATED:
            msg = "only validate_id_token makes VerifiedClaims"
            raise TypeError(msg)


class Keys(Protocol):
    """Where the keys come from: a `KeySet`, or `SigningKeys`, which may ask the provider for a new key."""

    def candidates(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """Answer the keys that a token may mean whose header names `key_id` (None: names no key)."""
        ...


def validate_id_token(token: str, *, keys: Keys, expected: Expectation, now: datetime) -> VerifiedClaims:
    """Answer what the token says, if every rule holds. Raises InvalidIdToken: the first rule that does not.

    Raises UpstreamUnavailable when `keys` does.

    OpenID Connect Core 1.0, section 3.1.3.7; RFC 8725; Microsoft's claims validation for one tenant.
    """
    unverified = _read(token)
    _check_signature(unverified, keys)
    claims = unverified.claims
    _check_parties(claims, expected)
    issued_at = _check_times(claims, now)
    _check_nonce(claims, expected)
    _check_tenant(claims, expected)
    return VerifiedClaims(
        principal=Principal(expected.tenant_id, _identifier(_required(claims, "oid"), Kind.MALFORMED_OID)),
        subject=_identifier(_required(claims, "sub"), Kind.MALFORMED_SUB),
        name=_name(claims),
        roles=_roles(claims),
        provider_session=_identifier(claims["sid"], Kind.MALFORMED_SID) if "sid" in claims else "",
        login_hint=_login_hint(claims),
        auth_time=_auth_time(claims, now),
        issued_at=issued_at,
        made_by=_VALIDATED,
    )


def _read(token: str) -> jws.Unverified:
    try:
        unverified = jws.read(token)  # 1
    except jws.InvalidToken as error:
        raise InvalidIdToken(Kind(error.kind.value)) from None
    if unverified.type not in {"", "JWT"}:  # another kind of token (RFC 8725, section 3.11)
        raise InvalidIdToken(Kind.TYPE)
    if unverified.algorithm != "RS256":  # 7, before a key is chosen or fetched for it
        raise InvalidIdToken(Kind.ALGORITHM)
    return unverified


def _check_signature(token: jws.Unverified, keys: Keys) -> None:
    candidates = keys.candidates(token.key_id)
    if not candidates:
        raise InvalidIdToken(Kind.UNKNOWN_KEY)
    if len(candidates) > 1:  # no trying out: the token must say which one (Core 1.0, section 10.1)
        raise InvalidIdToken(Kind.AMBIGUOUS_KEY)
    try:
        jws.verify(token, candidates[0].public_key, "RS256")  # 6, 7
    except jws.InvalidToken as error:
        raise InvalidIdToken(Kind(error.kind.value)) from None


def _check_parties(claims: Mapping[str, object], expected: Expectation) -> None:
    if _required(claims, "iss") != expected.issuer:  # 2
        raise InvalidIdToken(Kind.ISSUER)
    audience = _required(claims, "aud")
    # 3: a token that is meant for somebody else as well is refused; we trust no other audience.
    if audience not in (expected.client_id, [expected.client_id]):
        raise InvalidIdToken(Kind.AUDIENCE)
    if claims.get("azp", expected.client_id) != expected.client_id:  # 4, 5
        raise InvalidIdToken(Kind.AZP)


def _check_times(claims: Mapping[str, object], now: datetime) -> datetime:
    """Answer `iat`. Times are compared as numbers: a claim may name a year that no `datetime` can hold."""
    seconds, leeway = now.timestamp(), LEEWAY.total_seconds()
    if seconds >= _seconds(_required(claims, "exp"), Kind.MALFORMED_EXP) + leeway:  # 9
        raise InvalidIdToken(Kind.EXPIRED)
    if seconds < _seconds(_required(claims, "nbf"), Kind.MALFORMED_NBF) - leeway:  # RFC 7519, section 4.1.5
        raise InvalidIdToken(Kind.NOT_YET_VALID)
    issued_at = _seconds(_required(claims, "iat"), Kind.MALFORMED_IAT)
    if issued_at > seconds + leeway:  # 10
        raise InvalidIdToken(Kind.ISSUED_IN_FUTURE)
    if seconds - issued_at > MAX_AGE.total_seconds():  # 10
        raise InvalidIdToken(Kind.TOO_OLD)
    return datetime.fromtimestamp(issued_at, UTC)


def _check_nonce(claims: Mapping[str, object], expected: Expectation) -> None:
    nonce = _required(claims, "nonce")
    # 11, in a time that does not tell how much of a guess was right
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), expected.nonce.encode()):
        raise InvalidIdToken(Kind.NONCE)


def _check_tenant(claims: Mapping[str, object], expected: Expectation) -> None:
    if _required(claims, "ver") != "2.0":  # the claims of version 1.0 mean other things
        raise InvalidIdToken(Kind.VERSION)
    if _required(claims, "tid") != expected.tenant_id:
        raise InvalidIdToken(Kind.TENANT)


def _required(claims: Mapping[str, object], name: str) -> object:
    if name not in claims:
        raise InvalidIdToken(Kind(f"missing_{name}"))
    return claims[name]


def _seconds(value: object, malformed: Kind) -> int:
    """Read a NumericDate (RFC 7519, section 2) in whole seconds, as Entra writes it. True is not 1 here."""
    if type(value) is not int:
        raise InvalidIdToken(malformed)
    return value


def _identifier(value: object, malformed: Kind, limit: int = MAX_IDENTIFIER_CHARACTERS) -> str:
    """Read text that is compared and stored: ASCII without spaces and control characters, and not empty."""
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise InvalidIdToken(malformed)
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise InvalidIdToken(malformed)
    return value


def _roles(claims: Mapping[str, object]) -> tuple[str, ...]:
    roles = claims.get("roles", [])
    if not isinstance(roles, list):
        raise InvalidIdToken(Kind.MALFORMED_ROLES)
    return tuple(_identifier(role, Kind.MALFORMED_ROLES) for role in roles)


def _name(claims: Mapping[str, object]) -> str:
    """Read the display name: spaces of all kinds become one space, what cannot be seen or turns text goes."""
    name = claims.get("name", "")
    if not isinstance(name, str):
        raise InvalidIdToken(Kind.MALFORMED_NAME)
    seen = "".join(letter for letter in " ".join(name.split()) if letter.isprintable() or letter in _JOINERS)
    return seen[:MAX_NAME_CHARACTERS].strip()


def _login_hint(claims: Mapping[str, object]) -> str:
    if "login_hint" not in claims:
        return ""
    return _identifier(claims["login_hint"], Kind.MALFORMED_LOGIN_HINT, MAX_LOGIN_HINT_CHARACTERS)


def _auth_time(claims: Mapping[str, object], now: datetime) -> datetime | None:  # 13
    if "auth_time" not in claims:
        return None
    seconds = _seconds(claims["auth_time"], Kind.MALFORMED_AUTH_TIME)
    if not 0 <= seconds <= now.timestamp() + LEEWAY.total_seconds():
        raise InvalidIdToken(Kind.MALFORMED_AUTH_TIME)
    return datetime.fromtimestamp(seconds, UTC)
