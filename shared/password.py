"""Passwords: what is stored, how one is verified, and what a new one must be.

Stored is a PHC string of Argon2id (RFC 9106), keyed with a pepper that lives in the vault, not in the store.
A verification costs one evaluation whatever it is about, so that its time says nothing about the account.
"""

import re
import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import BoundedSemaphore, Lock

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from shared.errors import TooManyAttempts, WeakPassword
from shared.predictability import Habit, effective_length
from shared.secret import Secret


@dataclass(frozen=True, slots=True)
class Parameters:
    """The cost of one evaluation (RFC 9106, section 3.1): passes over the memory, lanes, memory in KiB."""

    iterations: int
    lanes: int
    memory_kib: int


PARAMETERS = Parameters(iterations=3, lanes=4, memory_kib=64 * 1024)
"""RFC 9106, section 4, second recommended option. Above OWASP's minimum (19 MiB, 2 passes, 1 lane)."""

CHEAPEST = Parameters(iterations=1, lanes=1, memory_kib=8)
"""The smallest that Argon2id allows. Only for tests."""

SALT_BYTES = 16
TAG_BYTES = 32
"""RFC 9106, section 4: a salt of 128 bits and a tag of 256."""

MAX_PARAMETERS = Parameters(iterations=10, lanes=8, memory_kib=128 * 1024)
"""The most that a stored string may ask for, so that a row that was tampered with is not a bomb."""

MIN_CHARACTERS = 15
"""NIST SP 800-63B-4, section 3.1.1.2: for a password that is used without a second factor."""

MAX_CHARACTERS = 256
"""Four times the 64 that the same section wants accepted. Bounds the work that a form can ask for."""

MIN_EFFECTIVE_LENGTH = 8
"""A password without its predictable parts is as long as the shortest that the same section allows at all."""

EVALUATION_PLACES = 2
"""One evaluates, one waits; more would take the worker's few threads from those who sign in with Microsoft. Browsers that
have signed in before have as many again for themselves: a crowd of strangers must not keep the Owner out."""

LONGEST_WAIT = timedelta(seconds=5)
"""For the turn to evaluate, and what a person who finds no place is told to wait."""

_PLACES = {
    "stranger": BoundedSemaphore(EVALUATION_PLACES),
    "known_browser": BoundedSemaphore(EVALUATION_PLACES),
}
_TURN = Lock()
"""One evaluation at a time in a process. An instance of 512 MB has no room for many times 64 MiB. And it must
be one: OpenSSL runs the lanes on one pool of threads for the process, and two evaluations that each hold a
part of the pool wait for each other for ever (seen with cryptography 50.0.2, OpenSSL 4.0.3)."""

_PHC = re.compile(
    r"\$argon2id\$v=19\$m=(?P<m>[1-9][0-9]{0,7}),t=(?P<t>[1-9][0-9]{0,3}),p=(?P<p>[1-9][0-9]{0,3})"
    # The last letters of 16 and of 32 octets in base64: unused bits are zero.
    r"\$[A-Za-z0-9+/]{21}[AQgw]\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"
)

TOO_SHORT = (
    f"The password has fewer than {MIN_CHARACTERS} characters. "
    "Four or more unrelated words make one that is long enough and easy to remember."
)
TOO_LONG = f"The password has more than {MAX_CHARACTERS} characters."
UNKNOWN_CHARACTER = (
    "The password contains a character that this system does not know; another device may not either."
)
PREDICTABLE = {
    Habit.COMMON: "The password is built on common words, names, sayings or leaked passwords.",
    Habit.CONTEXT: "The password is built on your user name or on the name of the product or its place.",
    Habit.SEQUENCE: "The password is built on a row of keys, the alphabet or digits in order.",
    Habit.DATE: "The password is built on a year or a date.",
    Habit.REPETITION: "The password repeats itself.",
}


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the password is right, and whether to hash it anew because the parameters have changed."""

    matches: bool
    rehash_needed: bool


def hash_password(password: Secret, pepper: Secret, parameters: Parameters = PARAMETERS) -> str:
    """Answer the PHC string to store.

    Raises WeakPassword when it is too long ever to be verified, TooManyAttempts when the turn does not come.
    """
    if len(password.reveal()) > MAX_CHARACTERS:
        raise WeakPassword((TOO_LONG,))
    argon2id = Argon2id(
        salt=secrets.token_bytes(SALT_BYTES),
        length=TAG_BYTES,
        iterations=parameters.iterations,
        lanes=parameters.lanes,
        memory_cost=parameters.memory_kib,
        secret=pepper.reveal().encode(),
    )
    with _turn():
        return argon2id.derive_phc_encoded(_octets(password))


def verify_password(
    password: Secret, phc: str | None, pepper: Secret, parameters: Parameters = PARAMETERS
) -> Verification:
    """Verify with exactly one evaluation, also without an account (None) or with an unusable stored string.

    It costs what the current parameters cost, or the stored ones until the next right password replaces them.
    The caller holds an `evaluation_place`. Raises TooManyAttempts, without a verdict, when the turn does not come.
    """
    stored = _parameters_of(phc or "")
    if phc is None or stored is None or len(password.reveal()) > MAX_CHARACTERS:
        phc, password = _unmatchable(parameters), Secret("")
    with _turn():
        try:
            Argon2id.verify_phc_encoded(_octets(password), phc, pepper.reveal().encode())
        except InvalidKey:
            return Verification(matches=False, rehash_needed=False)
    return Verification(matches=True, rehash_needed=stored != parameters)


def check_new_password(password: Secret, *, context: Iterable[str] = ()) -> tuple[str, ...]:
    """Answer what is wrong with a password that somebody chose, in sentences for that person; empty: nothing.

    NIST SP 800-63B-4, section 3.1.1.2: length in code points, a blocklist, no composition rules. `context`
    holds the names an attacker would try first: the account's, the product's, the place's.
    """
    text = password.reveal()
    if len(text) > MAX_CHARACTERS:
        return (TOO_LONG,)
    problems = []
    if len(unicodedata.normalize("NFC", text)) < MIN_CHARACTERS:
        problems.append(TOO_SHORT)
    # UAX #15, section 12.1: only assigned characters are normalised alike for ever.
    if any(unicodedata.category(character) in {"Cn", "Cs"} for character in text):
        problems.append(UNKNOWN_CHARACTER)
    length, habits = effective_length(text, context)
    if length < MIN_EFFECTIVE_LENGTH:
        problems.extend(sentence for habit, sentence in PREDICTABLE.items() if habit in habits)
    return tuple(problems)


def _octets(password: Secret) -> bytes:
    """Normalise by NFC (NIST SP 800-63B-4, section 3.1.1.2), so that every keyboard spells a password alike.

    NFC rather than NFKC: it joins what looks the same and keeps what differs. Nothing is cut or trimmed.
    """
    return unicodedata.normalize("NFC", password.reveal()).encode("utf-8", "surrogatepass")


def _parameters_of(phc: str) -> Parameters | None:
    """Read the parameters of a stored string; None unless `hash_password` could have written it."""
    match = _PHC.fullmatch(phc)
    if match is None:
        return None
    found = Parameters(iterations=int(match["t"]), lanes=int(match["p"]), memory_kib=int(match["m"]))
    usable = (
        found.iterations <= MAX_PARAMETERS.iterations
        and found.lanes <= MAX_PARAMETERS.lanes
        and 8 * found.lanes <= found.memory_kib <= MAX_PARAMETERS.memory_kib  # RFC 9106, section 3.1
    )
    return found if usable else None


def _unmatchable(parameters: Parameters) -> str:
    """Make a PHC string that no password matches: its tag is 256 random bits."""
    salt, tag = (b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (SALT_BYTES, TAG_BYTES))
    cost = f"m={parameters.memory_kib},t={parameters.iterations},p={parameters.lanes}"
    return f"$argon2id$v=19${cost}${salt}${tag}"


@contextmanager
def evaluation_place(*, known_browser: bool) -> Iterator[None]:
    """Take one of the few places before an attempt is charged. Raises TooManyAttempts at once when they are taken.

    Before, because an attempt that finds no place has told nothing, and must not count as a guess.
    """
    places = _PLACES["known_browser" if known_browser else "stranger"]
    if not places.acquire(blocking=False):
        raise TooManyAttempts(LONGEST_WAIT)
    try:
        yield
    finally:
        places.release()


@contextmanager
def _turn() -> Iterator[None]:
    """Wait for the turn to evaluate. Raises TooManyAttempts when it does not come."""
    if not _TURN.acquire(timeout=LONGEST_WAIT.total_seconds()):
        raise TooManyAttempts(LONGEST_WAIT)
    try:
        yield
    finally:
        _TURN.release()
