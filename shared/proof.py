"""The proof of possession that Microsoft Graph asks for when an application changes its own certificates.

Source: Microsoft Graph, application-rollkey-prooftoken. The vault signs it with a certificate that is registered.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from shared.jws import attach, signing_input

_AUDIENCE: Final = "00000002-0000-0000-c000-000000000000"
"""The directory, by the application id that it has in every tenant."""
_BACKDATED: Final = timedelta(seconds=120)
_LIVES_FOR: Final = timedelta(seconds=480)
"""With the backdating the 10 minutes that are allowed; a clock may be 2 minutes ahead."""


def make_proof(object_id: str, x5t: str, now: datetime, sign: Callable[[bytes], bytes]) -> str:
    """Make a proof for the application with this object id, good for 8 minutes.

    `x5t` names the certificate (SHA-1, RFC 7515 section 4.1.7), and `sign` signs a SHA-256 digest with its key (RS256).
    """
    header = {"alg": "RS256", "typ": "JWT", "x5t": x5t}
    claims = {
        "aud": _AUDIENCE,
        "iss": object_id,
        "nbf": int((now - _BACKDATED).timestamp()),
        "exp": int((now + _LIVES_FOR).timestamp()),
    }
    unsigned = signing_input(header, claims)
    return attach(unsigned, sign(hashlib.sha256(unsigned).digest()))
