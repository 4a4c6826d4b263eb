"""What the token endpoint hands out: ID tokens of the v2 shape, and what authorization codes stand for."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import jwt

from local.cloud.certificates import rsa_from_pem
from local.cloud.encoding import to_base64url
from local.cloud.entra.state import Application, EntraState, Person
from local.cloud.web import Json

CODE_LIFETIME = timedelta(minutes=10)
TOKEN_LIFETIME = timedelta(minutes=60)
_BACKDATED = timedelta(minutes=5)
"""Entra sets iat and nbf five minutes back, so that clocks may differ."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one authorization code stands for."""

    username: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    sid: str
    auth_time: datetime
    issued: datetime
    redeemed: bool = False


def login_hint(person: Person) -> str:
    """Give the opaque value that names a person to authorize and sign-out."""
    return "O." + to_base64url(person.object_id.encode())


def client_info(person: Person, tenant_id: str) -> str:
    """Give who signed in, as MSAL reads it."""
    return to_base64url(json.dumps({"uid": person.object_id, "utid": tenant_id}).encode())


def id_token(state: EntraState, issuer: str, grant: Grant, person: Person, now: datetime) -> str:
    """Sign an ID token (OpenID Connect Core, section 2) with the newest key."""
    key, claims = state.signing_keys[0], _claims(state.application, issuer, grant, person, now)
    return jwt.encode(claims, rsa_from_pem(key.pem.encode()), algorithm="RS256", headers={"kid": key.kid})


def _claims(application: Application, issuer: str, grant: Grant, person: Person, now: datetime) -> Json:
    issued = int((now - _BACKDATED).timestamp())
    claims: Json = {
        "aud": application.client_id,
        "iss": issuer,
        "iat": issued,
        "nbf": issued,
        "exp": int((now + TOKEN_LIFETIME).timestamp()),
        "rh": f"1.{to_base64url(UUID(application.tenant_id).bytes)}.",
        "sub": _pairwise_subject(application, person),
        "tid": application.tenant_id,
        "uti": secrets.token_urlsafe(16),
        "ver": "2.0",
    }
    if grant.nonce:
        claims["nonce"] = grant.nonce
    if "profile" in grant.scope.split():
        claims |= {"name": person.name, "oid": person.object_id, "preferred_username": person.username}
    if "email" in grant.scope.split():
        claims["email"] = person.username
    if person.roles:
        claims["roles"] = list(person.roles)
    optional: Json = {
        "auth_time": int(grant.auth_time.timestamp()),
        "login_hint": login_hint(person),
        "sid": grant.sid,
    }
    return claims | {name: optional[name] for name in application.optional_claims if name in optional}


def _pairwise_subject(application: Application, person: Person) -> str:
    parts = f"{application.client_id} {application.tenant_id} {person.object_id}"
    return to_base64url(hashlib.sha256(parts.encode()).digest())
