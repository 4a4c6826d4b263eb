"""base64url without padding (RFC 7515, section 2): the only characters that every hop leaves alone in a cookie."""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode


def random_id() -> str:
    """Draw 128 random bits, as 22 characters (ASVS 7.2.3 asks that much of a session)."""
    return secrets.token_urlsafe(16)


def base64url(data: bytes) -> str:
    """Encode bytes."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Decode text without padding. Raises ValueError for any other spelling.

    Python's decoder skips foreign characters and ignores loose bits at the end, which would let many texts stand for one.
    What does not encode back to itself is refused.
    """
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(data) != text:
        raise ValueError("not base64url")
    return data
