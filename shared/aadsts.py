"""Microsoft's error numbers (AADSTS…).

They may change: they choose what is said and whether the credential is read again, and decide nothing else.
"""

import re
from typing import Final

CREDENTIAL_ERRORS: Final = frozenset({700027, 700024, 7000214, 1000502, 7000274, 7000277})
"""By which Microsoft says that the certificate or its assertion, not the sign-in, was refused."""

OUTSIDE_ITS_TIME: Final = 700024
UNKNOWN_CREDENTIAL: Final = CREDENTIAL_ERRORS - {OUTSIDE_ITS_TIME}
"""Those that speak of the certificate itself. An assertion outside its time may mean that our clock is wrong."""

_NUMBER = re.compile(r"AADSTS(\d{4,8})")
_MOST_CHARACTERS = 2000


def numbers_in(description: str) -> tuple[int, ...]:
    """Find the numbers in an `error_description`, of which nothing else is kept."""
    return tuple(int(number) for number in _NUMBER.findall(description[:_MOST_CHARACTERS]))
