"""The proof of possession that rolls a key (Microsoft Graph, application-rollkey-prooftoken)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import jwt
from jwt.types import Options

from local.cloud.entra.state import RegisteredCertificate
from local.cloud.graph.errors import invalid_proof
from local.cloud.web import Json

_AUDIENCE: Final = "00000002-0000-0000-c000-000000000000"
"""The directory itself (Azure AD Graph), whatever the cloud."""
_LONGEST = timedelta(minutes=10)
_CLOCK_SKEW = timedelta(minutes=5)
_SIGNATURE_ONLY: Final[Options] = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_nbf": False,
}
"""The claims are compared here, by the stand-in's clock."""


def check_proof(
    proof: object, object_id: str, certificates: Sequence[RegisteredCertificate], now: datetime
) -> None:
    """Return when a registered certificate, valid now, signed the proof. Raises GraphError (401) otherwise."""
    if not isinstance(proof, str) or "=" in proof:
        raise invalid_proof()
    try:
        header = jwt.get_unverified_header(proof)
        key = _signer(header, certificates, now).public_key()
        claims = jwt.decode(proof, key, algorithms=["RS256"], options=_SIGNATURE_ONLY)
    except jwt.PyJWTError as error:
        raise invalid_proof() from error
    if claims.get("aud") != _AUDIENCE or claims.get("iss") != object_id:
        raise invalid_proof()
    _check_times(claims.get("nbf"), claims.get("exp"), now)


def _signer(
    header: Json, certificates: Sequence[RegisteredCertificate], now: datetime
) -> RegisteredCertificate:
    for registered in certificates:
        certificate = registered.certificate()
        valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        if valid and header.get("x5t") == registered.x5t:
            return registered
    raise invalid_proof()


def _check_times(not_before: object, expires: object, now: datetime) -> None:
    if not isinstance(not_before, int) or not isinstance(expires, int):
        raise invalid_proof()
    skew, seconds = _CLOCK_SKEW.total_seconds(), now.timestamp()
    lifetime = expires - not_before
    if not 0 < lifetime <= _LONGEST.total_seconds() or not not_before - skew <= seconds <= expires + skew:
        raise invalid_proof()
