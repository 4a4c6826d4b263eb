"""Microsoft's error numbers (AADSTS…).

They may change: they choose what is said and whether the credential is read again, and decide nothing else.
"""

import re
from typing import Final

CREDENTIAL_ERRORS: Final = frozenset({700027, 700024, 7000214, 1000502, 7000274, 7000277})
"""By which Microsoft says that the certificate or its assertion, not the sign-in, was refused."""

OUTSIDE_ITS_TIME: Final = 700024

_NUMBER = re.compile(r"AADSTS(\d{4,8})")
_MOST_CHARACTERS = 2000


def is_credential_error(error: str, numbers: tuple[int, ...]) -> bool:
    """Tell whether the certificate or its assertion was refused: `invalid_client` (RFC 6749, section 5.2) says so.

    The numbers are looked at as well: they were not always sent with that error.
    """
    return error == "invalid_client" or not CREDENTIAL_ERRORS.isdisjoint(numbers)


def is_unknown_credential(error: str, numbers: tuple[int, ...]) -> bool:
    """Tell whether the certificate itself was refused. An assertion outside its time may mean that our clock is wrong."""
    return is_credential_error(error, numbers) and OUTSIDE_ITS_TIME not in numbers


def numbers_in(description: str) -> tuple[int, ...]:
    """Find the numbers in an `error_description`, of which nothing else is kept."""
    return tuple(int(number) for number in _NUMBER.findall(description[:_MOST_CHARACTERS]))
