"""The certificate that proves the application to Microsoft, and the client assertions it signs (RFC 7523, section 3).

The private key stays in the vault, which signs each assertion. Which version is used is our own row in the store, never
the vault's newest: a version that Microsoft does not know yet would fail every sign-in.
"""

import hashlib
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from shared.errors import UpstreamUnavailable
from shared.jws import attach, signing_input
from shared.ports import Clock
from shared.refreshed import BACK_OFF
from shared.renewal_state import CertificateVersion

CERTIFICATE_NAME: Final = "sos-entra"
"""The name of the certificate in the vault."""
_BACKDATED: Final = timedelta(minutes=2)
"""`nbf` lies this far back, so that a clock that runs ahead does not make an assertion from the future."""
_LIVES_FOR: Final = timedelta(minutes=8)
"""With the backdating, the 10 minutes that MSAL gives its own assertions."""
_REUSED_FOR: Final = timedelta(minutes=5)


class ClientAssertions:
    """Makes client assertions and reuses each while it is fresh, so that a warm sign-in does not ask the vault."""

    def __init__(self, sign: Callable[[str, bytes], bytes], clock: Clock) -> None:
        """Take `sign(version, digest)`, which signs a SHA-256 digest with PS256."""
        self._sign = sign
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str, str], tuple[datetime, str]] = {}
        self._failed: dict[str, tuple[datetime, UpstreamUnavailable]] = {}

    def make(self, client_id: str, audience: str, certificate: CertificateVersion) -> str:
        """Give an assertion with at least 3 minutes to live. `audience` is the token endpoint."""
        wanted = (client_id, audience, certificate.version)
        # Before the lock: who has a fresh assertion does not wait while the vault signs with another version.
        kept = self._made.get(wanted)
        if kept is not None and kept[0] <= self._clock() < kept[0] + _REUSED_FOR:
            return kept[1]
        with self._lock:  # one signature when many sign in at once
            now = self._clock()
            # A clock that was set back must not keep an assertion that Microsoft sees as expired.
            self._made = {
                name: made for name, made in self._made.items() if made[0] <= now < made[0] + _REUSED_FOR
            }
            if wanted in self._made:
                return self._made[wanted][1]
            failed = self._failed.get(certificate.version)
            if failed is not None and timedelta(0) <= now - failed[0] < BACK_OFF:
                # Who waited for the lock does not wait for the vault as well.
                raise failed[1].with_traceback(None)
            unsigned = _unsigned(client_id, audience, certificate.thumbprint, now)
            try:
                signature = self._sign(certificate.version, hashlib.sha256(unsigned).digest())
            except UpstreamUnavailable as error:
                self._failed[certificate.version] = (self._clock(), error)
                raise
            self._failed.pop(certificate.version, None)
            assertion = attach(unsigned, signature)
            self._made[wanted] = (now, assertion)
            return assertion

    def forget(self, certificate: CertificateVersion) -> None:
        """Drop what is kept of this version: Microsoft refused it."""
        with self._lock:
            self._made = {name: made for name, made in self._made.items() if name[2] != certificate.version}


def _unsigned(client_id: str, audience: str, x5t_s256: str, now: datetime) -> bytes:
    issued = int(now.timestamp())
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": x5t_s256}
    claims = {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid.uuid4()),
        "iat": issued,
        "nbf": issued - int(_BACKDATED.total_seconds()),
        "exp": issued + int(_LIVES_FOR.total_seconds()),
    }
    return signing_input(header, claims)
