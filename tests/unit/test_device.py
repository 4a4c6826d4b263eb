import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.device import CLOCK_TOLERANCE, LIFETIME, issue, known

KEY = bytes(range(32))
NOW = datetime(2026, 7, 1, 8, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_cookie_is_known_where_it_was_issued() -> None:
    """A browser that has signed in is recognised, as 128 bits in hexadecimal."""
    device = known(issue("owner", KEY, NOW), "owner", KEY, NOW)
    assert device is not None
    assert re.fullmatch(r"[0-9a-f]{32}", device)


def test_cookie_is_small_and_survives_the_platform() -> None:
    """Letters of base64url without padding only, and under 200 octets."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", issue("owner", KEY, NOW))


def test_each_sign_in_makes_another_device() -> None:
    """A copy that was stolen does not share the counter of the next cookie."""
    devices = {known(issue("owner", KEY, NOW), "owner", KEY, NOW) for _ in range(100)}
    assert len(devices) == 100


@pytest.mark.parametrize(
    ("age", "is_known"),
    [
        (-CLOCK_TOLERANCE - SECOND, False),
        (-CLOCK_TOLERANCE, True),
        (timedelta(0), True),
        (LIFETIME - SECOND, True),
        (LIFETIME, False),
        (10 * LIFETIME, False),
    ],
)
def test_cookie_has_its_time(age: timedelta, is_known: bool) -> None:  # noqa: FBT001 - a table
    """It is known from its issue, give or take a clock, until its lifetime is over."""
    assert (known(issue("owner", KEY, NOW), "owner", KEY, NOW + age) is not None) is is_known


def test_cookie_of_another_account_is_not_known() -> None:
    """A colleague's browser is a stranger's, whether or not the name has an account."""
    assert known(issue("nurse", KEY, NOW), "owner", KEY, NOW) is None


def test_cookie_of_another_key_is_not_known() -> None:
    """Only our key makes cookies."""
    assert known(issue("owner", bytes(32), NOW), "owner", KEY, NOW) is None


@settings(deadline=None)
@given(st.integers(0, 56), st.integers(1, 255))
def test_no_octet_can_be_changed(position: int, difference: int) -> None:
    """The time, the device and the version are all under the code."""
    octets = bytearray(urlsafe_b64decode(issue("owner", KEY, NOW)))
    octets[position] ^= difference
    assert known(urlsafe_b64encode(octets).decode(), "owner", KEY, NOW) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda cookie: cookie[:-1],
        lambda cookie: cookie[:-4],
        lambda cookie: cookie + "A",
        lambda cookie: cookie + "AAAA",
        lambda cookie: cookie + "=",
        lambda cookie: cookie + "\n",
        lambda cookie: " " + cookie,
        lambda cookie: cookie[:10] + "\n" + cookie[10:],
        lambda cookie: cookie[:10] + "+" + cookie[11:],
        lambda cookie: cookie[:10] + "é" + cookie[11:],
        lambda cookie: cookie * 1000,
    ],
)
def test_cookie_has_one_spelling(damage: object) -> None:
    """Anything but the exact text is unknown, and nothing raises."""
    assert callable(damage)
    assert known(damage(issue("owner", KEY, NOW)), "owner", KEY, NOW) is None


@settings(deadline=None)
@given(st.text(max_size=100), st.text(max_size=20).filter(lambda name: name.isprintable()))
def test_any_text_is_answered(cookie: str, user_name: str) -> None:
    """Whatever a browser sends is not a device."""
    assert known(cookie, user_name, KEY, NOW) is None
