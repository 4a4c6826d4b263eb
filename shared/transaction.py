"""The login transaction: what a browser keeps while its person is at Microsoft, sealed so that only we can read it.

It lives in a cookie named after the state, so that tabs do not collide. Sealing is AES-256-GCM; the cookie's name is
bound in as associated data, so a sealed transaction is worth nothing under another name.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.base64url import base64url, from_base64url, random_id
from shared.ports import Application, AuthorizationRequest
from shared.secret import Secret

LIFETIME = timedelta(minutes=10)
"""As long as an authorization code of Microsoft lives."""
MAX_AT_ONCE = 5
"""Cookies of unfinished sign-ins in one browser; the oldest is dropped for a sixth (background tabs pile up)."""
COOKIE_PREFIX = "__Host-sos-login-"
_NONCE_BYTES = 12  # SP 800-38D, section 8.2: 96 bits
_MAX_SEALED = 3600  # a cookie is at most 4,096 bytes with its name and attributes


@dataclass(frozen=True, slots=True)
class LoginTransaction:
    """One sign-in under way. `session_key` will name the session, so that an answer that is replayed conflicts."""

    request: AuthorizationRequest
    application: Application
    next: str
    issued_at: datetime
    session_key: str


def new_state(*, second_try: bool) -> str:
    """Make a state of 128 random bits. Its first letter remembers whether this is the second try in a row.

    The answer of Microsoft brings the state back even where the browser lost its cookies, so a sign-in that fails
    for want of a transaction is started again once, never twice. Forging the letter wins nothing but a page.
    """
    return ("r" if second_try else "s") + random_id()


def is_second_try(state: str) -> bool:
    """Tell whether the sign-in of this state was started because the one before had lost its transaction."""
    return state.startswith("r")


def cookie_name(state: str) -> str:
    """Name the cookie of a state. The hash keeps foreign characters out of a header."""
    digest = hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()
    return COOKIE_PREFIX + base64url(digest[:12])


def seal(transaction: LoginTransaction, key: bytes, key_id: str) -> str:
    """Seal a transaction for its cookie: key id, nonce and ciphertext as base64url without padding."""
    request, application = transaction.request, transaction.application
    facts = [
        request.state,
        request.nonce.reveal(),
        request.code_verifier.reveal(),
        application.tenant_id,
        application.client_id,
        transaction.next,
        int(transaction.issued_at.timestamp()),
        transaction.session_key,
    ]
    plain = json.dumps(facts, separators=(",", ":")).encode()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, plain, cookie_name(request.state).encode())
    return f"{key_id}{base64url(sealed)}"


def open_sealed(
    cookie: str, name: str, keys: Mapping[str, bytes], key_id_length: int
) -> LoginTransaction | None:
    """Open the cookie of this name; None for anything that we did not seal under this name."""
    key = keys.get(cookie[:key_id_length])
    if key is None or len(cookie) > _MAX_SEALED:
        return None
    try:
        sealed = from_base64url(cookie[key_id_length:])
        plain = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
    except (ValueError, InvalidTag):
        return None
    state, nonce, verifier, tenant_id, client_id, next_path, issued_at, session_key = json.loads(plain)
    return LoginTransaction(
        AuthorizationRequest(state, Secret(nonce), Secret(verifier)),
        Application(tenant_id, client_id),
        next_path,
        datetime.fromtimestamp(issued_at, UTC),
        session_key,
    )
