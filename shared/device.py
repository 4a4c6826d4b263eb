"""The device cookie: this browser has signed in to this account before (OWASP, "device cookies").

It opens nothing. A browser that shows one is throttled by a counter of its own, so that whoever guesses from
elsewhere cannot keep a person out of the browser they use. It is verified without the store, and in the same
way whether or not the account exists.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import NewType

DeviceId = NewType("DeviceId", str)
"""128 random bits in hexadecimal. New at every sign-in."""

LIFETIME = timedelta(days=400)
"""The longest that browsers keep a cookie (RFC 6265bis). Long, because the Owner's password is for
emergencies and may rest for a year."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the instance that issued a cookie may be ahead of the one that reads it."""

ID_OCTETS = 16
TIME_OCTETS = 8
MAC_OCTETS = 32
COOKIE = re.compile(r"[A-Za-z0-9_-]{76}")
"""57 octets, which base64url (RFC 4648, section 5) spells in one way only: no padding, no bits left over."""

VERSION = b"\x01"
PURPOSE = b"device cookie"


def issue(user_name: str, key: bytes, now: datetime) -> str:
    """Make the cookie's value for a browser that has just signed in. `user_name` is normalised."""
    issued = int(now.timestamp()).to_bytes(TIME_OCTETS)
    content = VERSION + secrets.token_bytes(ID_OCTETS) + issued
    return urlsafe_b64encode(content + _mac(user_name, content, key)).decode()


def known(cookie: str, user_name: str, key: bytes, now: datetime) -> DeviceId | None:
    """Answer the device, if the cookie is ours, is in its time, and was made for this user name."""
    if COOKIE.fullmatch(cookie) is None:
        return None
    octets = urlsafe_b64decode(cookie)
    content, mac = octets[:-MAC_OCTETS], octets[-MAC_OCTETS:]
    if not hmac.compare_digest(mac, _mac(user_name, content, key)):
        return None
    # From here on it is what `issue` wrote.
    device, issued = content[1 : 1 + ID_OCTETS], content[1 + ID_OCTETS :]
    age = now - datetime.fromtimestamp(int.from_bytes(issued), UTC)
    if not -CLOCK_TOLERANCE <= age < LIFETIME:
        return None
    return DeviceId(device.hex())


def _mac(user_name: str, content: bytes, key: bytes) -> bytes:
    # The content has a fixed length, so what follows it cannot be read another way.
    return hmac.digest(key, PURPOSE + content + user_name.encode(), "sha256")
