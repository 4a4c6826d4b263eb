"""What it costs an application to know who is signed in, and how large the cookie is."""

import json
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from bench.alternate import medians
from bench.stage import Stage
from bench.table import Line, duration, verdict
from bench.visitor import SESSION_COOKIE, Visitor
from bench.wire import Wire
from shared.access import AuthenticationMethod, Level
from shared.key_ring import KeyRing
from shared.session import TOKEN_LIFETIME, Issuer, Session, read_token, write_token

_LIMIT_SECONDS = 100e-6
_LIMIT_BYTES = 1024
_NUMBER = 200
_ADDRESS = "https://signin.department.hospital.example"
_APPLICATION = "https://sos.department.hospital.example"


def measure(stage: Stage, rounds: int) -> list[Line]:
    """Verify a token of the worker with the key set that it publishes, by PyJWT and by our own reader."""
    with Visitor(stage, stage.people[0]) as visitor:
        token = visitor.sign_in()
    with Wire(stage.worker.url) as wire:
        published = jwt.PyJWKSet.from_dict(json.loads(wire.get("/.well-known/jwks.json").body))
    address, now = stage.worker.url, datetime.now(UTC)
    ring, issuer = KeyRing.generate(now), Issuer(_ADDRESS, _APPLICATION)
    longest = _longest_session(now)
    own = write_token(longest, ring, issuer, now)

    def by_pyjwt() -> None:
        key = published[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key, algorithms=["ES256"], audience=address, issuer=address)

    def by_us() -> None:
        read_token(own, ring, issuer, now)

    found = medians({"bare": _timed(_bare()), "pyjwt": _timed(by_pyjwt), "ours": _timed(by_us)}, rounds)
    return [
        _time_line("verify a session token with PyJWT", found["pyjwt"], found["bare"]),
        _time_line("verify a session token with shared.session", found["ours"], found["bare"]),
        _size_line("session cookie, of this sign-in", token),
        _size_line("session cookie, of the longest name", own),
    ]


def _time_line(what: str, seconds: float, floor: float) -> Line:
    return Line(
        what,
        duration(seconds),
        f"{duration(floor)} ES256 alone, by cryptography",
        f"{seconds / floor:.2f} x",
        f"< {duration(_LIMIT_SECONDS)}",
        verdict(met=seconds < _LIMIT_SECONDS),
    )


def _size_line(what: str, token: str) -> Line:
    size = len(f"{SESSION_COOKIE}={token}")
    return Line(
        what, f"{size} bytes", target=f"< {_LIMIT_BYTES} bytes", verdict=verdict(met=size < _LIMIT_BYTES)
    )


def _longest_session(now: datetime) -> Session:
    """Make the session of a person whose name takes all the room that a token gives it, in four-byte letters."""
    method = AuthenticationMethod.PASSWORD
    partition, key = "p" * 22, "k" * 22
    return Session(
        f"{partition}.{key}",
        "a" * 22,
        Level.ADMIN,
        "\N{GOTHIC LETTER AHSA}" * 64,
        method,
        now,
        now,
        now + TOKEN_LIFETIME,
    )


def _bare() -> Callable[[], object]:
    """Make a verification of ES256 with nothing around it: the floor on this machine."""
    private_key, signed = ec.generate_private_key(ec.SECP256R1()), b"x" * 400
    signature, public_key = private_key.sign(signed, ec.ECDSA(SHA256())), private_key.public_key()
    return lambda: public_key.verify(signature, signed, ec.ECDSA(SHA256()))


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    """Measure time on the processor: what else the machine does meanwhile counts little."""
    timer = timeit.Timer(work, timer=time.process_time)
    return lambda: timer.timeit(_NUMBER) / _NUMBER
