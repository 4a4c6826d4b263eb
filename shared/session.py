"""Sessions: a signed token in the browser for 10 minutes, a row in the store that carries the truth.

The token answers "who is this" without any call. The row is read when a token is renewed: it knows whether the session
was ended, has been idle too long or has reached its absolute end, and the account beside it knows whether it may still
sign in. So an end reaches every token at most 10 minutes later.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from shared import accounts, jws
from shared.access import AuthenticationMethod, Level, level_with_roles, refusal
from shared.base64url import base64url
from shared.errors import Conflict, InvalidSession
from shared.key_ring import KeyRing
from shared.ports import Row, Store, Table, Value

TOKEN_TYPE: Final = "session+jwt"  # noqa: S105 - RFC 8725, section 3.11: an explicit type
TOKEN_LIFETIME: Final = timedelta(minutes=10)
IDLE_LIMIT: Final = timedelta(hours=1)
ABSOLUTE_LIMIT: Final = timedelta(hours=12)
OWNER_PASSWORD_LIMIT: Final = timedelta(hours=1)
"""The Owner by password: the widest rights behind the weakest proof."""
_MAX_NAME: Final = 64
"""Characters of the display name in a token, so that the cookie stays under 1 KB."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, as a verified token says. `id` is the `sid` claim."""

    id: str
    account_id: str
    level: Level
    name: str
    method: AuthenticationMethod
    auth_time: datetime
    issued_at: datetime
    expires_at: datetime

    def wants_renewal(self, now: datetime) -> bool:
        """Tell whether the token is past half its life, which is short near the end of the session."""
        return now - self.issued_at >= (self.expires_at - self.issued_at) / 2


@dataclass(frozen=True, slots=True)
class Issuer:
    """What is the same in every token: `iss`, the Address, and `aud`, the application."""

    issuer: str
    audience: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that succeeded, from which a session is made."""

    account: accounts.Account
    level: Level
    method: AuthenticationMethod
    key: str
    admin_role: str = ""
    """The app role that raised the level, where one did."""
    provider_session: str = ""
    """The `sid` of Microsoft, by which its front-channel sign-out finds the session."""


def create(store: Store, signed_in: SignedIn, now: datetime) -> Session:
    """Write the row of a new session: one insert. Raises Conflict when key and session of Microsoft were here before."""
    account = signed_in.account
    sid = signed_in.provider_session
    partition = provider_partition(sid) if sid else _partition("own", signed_in.key)
    values: dict[str, Value] = {
        "account": account.id,
        "raised_by": signed_in.admin_role if signed_in.level is not account.level else "",
        "method": signed_in.method.value,
        "auth_time": now,
        "last_seen": now,
    }
    store.insert(Table.SESSIONS, Row(partition, signed_in.key, values))
    return _session(f"{partition}.{signed_in.key}", account, signed_in.level, signed_in.method, now, now)


def renew(store: Store, session_id: str, now: datetime, *, sso_active: bool, admin_role: str) -> Session:
    """Make a session's next token from its row and its account. Raises InvalidSession when it is over.

    What the account may do is asked again: SSO may have become mandatory since, or the app role another one.
    """
    row = _row_of(store, session_id)
    account_id, method = str(row.values["account"]), AuthenticationMethod(str(row.values["method"]))
    auth_time, last_seen = row.time("auth_time"), row.time("last_seen")
    account = accounts.account_by_id(store, account_id)
    if account is None:
        raise InvalidSession("account_gone")
    level = level_with_roles(account.level, (str(row.values["raised_by"]),), admin_role)
    if reason := refusal(method, level, sso_active=sso_active, allow_login=account.allow_login):
        raise InvalidSession(reason)
    if auth_time < account.sessions_from:
        raise InvalidSession("ended")
    if now - auth_time >= absolute_limit(method, level):
        raise InvalidSession("absolute_limit")
    if now - last_seen >= IDLE_LIMIT:
        raise InvalidSession("idle_limit")
    try:
        store.replace(Table.SESSIONS, replace(row, values={**row.values, "last_seen": max(now, last_seen)}))
    except Conflict:
        # Another tab renewed at the same moment, or the session was ended: the row tells.
        _row_of(store, session_id)
    return _session(session_id, account, level, method, auth_time, now)


def end(store: Store, session_id: str) -> None:
    """End a session for good. Ending what is over already is fine."""
    partition, _, key = session_id.partition(".")
    while row := store.get(Table.SESSIONS, partition, key):
        try:
            store.delete(Table.SESSIONS, row)
        except Conflict:
            continue  # it was renewed in between: the new row goes as well


def end_provider_session(store: Store, provider_session: str) -> list[str]:
    """End every session that came from this session of Microsoft; give the account ids."""
    ended = []
    for row in store.query(Table.SESSIONS, provider_partition(provider_session)):
        end(store, f"{row.partition}.{row.key}")
        ended.append(str(row.values["account"]))
    return ended


def absolute_limit(method: AuthenticationMethod, level: Level) -> timedelta:
    """Say how long after its sign-in a session ends, whatever is done with it (ASVS 7.3.2)."""
    owner_by_password = method is AuthenticationMethod.PASSWORD and level is Level.OWNER
    return OWNER_PASSWORD_LIMIT if owner_by_password else ABSOLUTE_LIMIT


def provider_partition(provider_session: str) -> str:
    """Name the partition of the sessions that share one session of Microsoft (22 characters, base64url)."""
    return _partition("provider", provider_session)


def _partition(kind: str, name: str) -> str:
    # The kinds are kept apart, so that no `sid` that somebody makes up names a session that Microsoft did not start.
    return base64url(hashlib.sha256(f"{kind} {name}".encode()).digest()[:16])


def write_token(session: Session, ring: KeyRing, issuer: Issuer, now: datetime) -> str:
    """Sign the token of a session (JWT, ES256)."""
    key = ring.signing_key(now)
    claims = {
        "iss": issuer.issuer,
        "aud": issuer.audience,
        "sub": session.account_id,
        "sid": session.id,
        "level": session.level.slug,
        "name": session.name,
        "method": session.method.value,
        "auth_time": int(session.auth_time.timestamp()),
        "iat": int(session.issued_at.timestamp()),
        "exp": int(session.expires_at.timestamp()),
    }
    return jws.sign({"typ": TOKEN_TYPE, "kid": key.key_id}, claims, key.private_key)


def read_token(
    token: str, ring: KeyRing, issuer: Issuer, now: datetime, *, allow_expired: bool = False
) -> Session:
    """Verify a token. Raises InvalidSession(kind).

    `allow_expired` is for renewal alone: the row decides then whether the session lives.
    """
    try:
        unverified = jws.read(token)
        key = ring.find(unverified.key_id or "")
        if key is None:
            raise InvalidSession("unknown_key")
        if unverified.type != TOKEN_TYPE:
            raise InvalidSession("header")
        jws.verify(unverified, key.public_key, "ES256")
    except jws.InvalidToken as error:
        raise InvalidSession(error.kind) from None
    claims = unverified.claims
    if claims.get("iss") != issuer.issuer or claims.get("aud") != issuer.audience:
        raise InvalidSession("audience")
    session = _from_claims(claims)
    if now >= session.expires_at and not allow_expired:
        raise InvalidSession("expired")
    if session.issued_at - now > timedelta(minutes=1):
        raise InvalidSession("issued_in_future")
    return session


def _session(
    session_id: str,
    account: accounts.Account,
    level: Level,
    method: AuthenticationMethod,
    auth_time: datetime,
    now: datetime,
) -> Session:
    ends = auth_time + absolute_limit(method, level)
    expires_at = min(now + TOKEN_LIFETIME, ends)
    return Session(
        session_id, account.id, level, account.name[:_MAX_NAME], method, auth_time, now, expires_at
    )


def _from_claims(claims: Mapping[str, object]) -> Session:
    # The signature is ours: what it covers was written by `write_token`, so a missing claim is a defect, not an attack.
    return Session(
        id=str(claims["sid"]),
        account_id=str(claims["sub"]),
        level=Level[str(claims["level"]).upper()],
        name=str(claims["name"]),
        method=AuthenticationMethod(str(claims["method"])),
        auth_time=_from_numeric_date(claims["auth_time"]),
        issued_at=_from_numeric_date(claims["iat"]),
        expires_at=_from_numeric_date(claims["exp"]),
    )


def _from_numeric_date(value: object) -> datetime:
    if not isinstance(value, int):
        raise InvalidSession("malformed")
    return datetime.fromtimestamp(value, UTC)


def _row_of(store: Store, session_id: str) -> Row:
    partition, _, key = session_id.partition(".")
    row = store.get(Table.SESSIONS, partition, key)
    if row is None:
        raise InvalidSession("ended")
    return row
